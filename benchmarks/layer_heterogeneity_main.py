"""Redoes the study of which layers matter, on the default corpus.

  ./bazelw run //benchmarks:layer_heterogeneity [-- --quick]

All speech is synthetic. In this order: identities that must hold exactly,
probes of the committed model and a plan of each kind, what a round costs a
client under each, federated training under each from several seeds, the same
with one thing changed, models cut out of the trained ones, and the same probes
of models trained here from other seeds, with other norms and of another size.

Stopped at any moment, the same command goes on. It writes what it has as it
goes: into `benchmarks/results/layer_heterogeneity.json`, after each part into
`docs/images/layer_*.png`, and with --quick below --out. `--parts=central` does
one part again and keeps the rows of the others.
"""

from lingvo_lite.stage import entry_point

import dataclasses
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from absl import flags, logging

from benchmarks.dropout_identities import identity_rows
from benchmarks.layer_heterogeneity_claims import (
  agreement_rows,
  churn_row,
  claims_of,
  part_of,
  probe_agreement_row,
  reset_rows,
)
from benchmarks.layer_heterogeneity_figures import draw_figures
from benchmarks.layer_heterogeneity_study import BASE, FULL, QUICK, Study
from benchmarks.layer_heterogeneity_tables import study_tables
from benchmarks.result_file import claims_table, kept_rows, write_result
from lingvo_lite.data.default_corpus import extract_default_corpus
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.manifest import sha256

_QUICK = flags.DEFINE_bool(
  "quick",
  False,
  "Few updates, rounds and runs: a check of the program in minutes.",
)
_OUT = flags.DEFINE_string(
  "out", None, "Folder for finished steps. Left out: one in lingvo_lite_runs."
)
_PARTS = flags.DEFINE_list(
  "parts",
  None,
  "Any of identities, probes, client_rounds, federated, variants, cuts,"
  " central: do these, and keep the other parts' rows that the results have."
  " Left out: all.",
)

_MODEL = os.path.join("lingvo_lite", "pretrained", "tiny")
_NAME = "layer_heterogeneity"

Rows = Iterator[dict[str, Any]]


def main(argv: Sequence[str]) -> None:
  """Does what is not done yet and writes the results."""
  del argv
  size = QUICK if _QUICK.value else FULL
  root = os.environ.get("BUILD_WORKSPACE_DIRECTORY", os.getcwd())
  out = entry_point.default_folder(_NAME + ("_quick" if _QUICK.value else ""))
  if _OUT.value:
    out = entry_point.user_path(_OUT.value)
  model = os.path.join(root, _MODEL)
  corpus = extract_default_corpus(entry_point.default_folder("corpus"))
  study = Study(size, model, corpus, out)
  config = {
    "quick": _QUICK.value,
    "model_sha256": sha256(os.path.join(model, "model.keras")),
    "speech": "synthetic; word error rates of federated runs are of speakers"
    " heard in no training stage",
    **dataclasses.asdict(size),
  }
  results, images = out, out
  if not _QUICK.value:
    results = os.path.join(root, "benchmarks", "results")
    images = os.path.join(root, "docs", "images")
  path = os.path.join(results, f"{_NAME}.json")

  parts: dict[str, Callable[[Study], Rows]] = {
    "identities": _identities,
    "probes": _base,
    "client_rounds": Study.client_round_rows,
    "federated": _federated,
    "variants": Study.variant_rows,
    "cuts": Study.cut_rows,
    "central": _central,
  }
  chosen = _chosen(parts)
  by_part, seconds = _before(path, config, chosen, parts)
  rows: list[dict[str, Any]] = []
  for name in chosen:
    by_part[name] = []
    for row in parts[name](study):
      by_part[name].append(row)
      rows = [row for part in parts for row in by_part.get(part, ())]
      seconds |= study.seconds
      write_result(
        path,
        config=config,
        seconds=sum(seconds.values()),
        rows=rows
        + [
          {"kind": "seconds", "part": part, "seconds": round(each, 1)}
          for part, each in seconds.items()
        ],
        claims=claims_of(rows),
      )
    draw_figures(images, rows, study.importance())
  for name, each in study.seconds.items():
    logging.info("%s: %.1f min", name, each / 60)
  print(study_tables(rows))
  print(claims_table(claims_of(rows)))
  logging.info("written to %s and %s", path, images)


def _chosen(parts: Collection[str]) -> list[str]:
  """Returns the parts that are asked for, in the order of the study."""
  asked = _PARTS.value or list(parts)
  for name in asked:
    if name not in parts:
      raise InputError(
        f"found --parts={name}, expected any of {', '.join(parts)}"
      )
  return [name for name in parts if name in asked]


def _before(
  path: str,
  config: Mapping[str, Any],
  chosen: Collection[str],
  parts: Collection[str],
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, float]]:
  """Reads the rows so far, by part, and what they took.

  Rows of parts that are done now are replaced when it is their turn.

  Args:
    path: of the results so far, there or not.
    config: of this study; results of another model are refused.
    chosen: parts that are done now; if all are, nothing is kept.
    parts: of the study.
  """
  by_part: dict[str, list[dict[str, Any]]] = {}
  seconds: dict[str, float] = {}
  if len(chosen) == len(parts):
    return by_part, seconds
  shared = {"model_sha256": config["model_sha256"]}
  for row in kept_rows(path, shared):
    if row["kind"] == "seconds":
      seconds[row["part"]] = row["seconds"]
    else:
      by_part.setdefault(part_of(row), []).append(row)
  return by_part, seconds


def _identities(study: Study) -> Rows:
  del study
  yield from identity_rows()


def _base(study: Study) -> Rows:
  importance = study.importance()
  yield from reset_rows(BASE, importance)
  yield probe_agreement_row(BASE, importance)


def _federated(study: Study) -> Rows:
  yield from study.federated_rows()
  yield {
    **churn_row("federated", study.federated_churn()),
    "reset_run": BASE,
  }


def _central(study: Study) -> Rows:
  found = {}
  for run in study.size.central_runs:
    found[run] = study.central(run)
    importance = found[run]["importance"]
    yield {
      "kind": "central",
      "run": run.name,
      "preset": run.preset,
      "held_out_wer": found[run]["held_out_wer"],
    }
    yield from reset_rows(run.name, importance)
    yield probe_agreement_row(run.name, importance)
    yield {**churn_row(run.name, found[run]["churn"]), "reset_run": run.name}
  yield from agreement_rows(found)


if __name__ == "__main__":
  entry_point.run(main)

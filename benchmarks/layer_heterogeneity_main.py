"""Redoes the study of which layers matter, on the default corpus.

  ./bazelw run //benchmarks:layer_heterogeneity [-- --quick]

All speech is synthetic. In this order: probes of the committed model and a plan
of each kind, what a round costs a client under each of them, federated training
under each from several seeds, the same with one thing changed, and the same
probes of models trained here from other seeds, with other norms and of another
size. Stopped at any moment, the same command goes on. It writes what it has as
it goes: into `benchmarks/results/layer_heterogeneity.json`, after each part
into `docs/images/layer_*.png`, and with --quick below --out.
"""

from lingvo_lite.stage import entry_point

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import flags, logging

from benchmarks.layer_heterogeneity_claims import (
  agreement_rows,
  churn_row,
  claims_of,
  probe_agreement_row,
  reset_rows,
)
from benchmarks.layer_heterogeneity_figures import draw_figures
from benchmarks.layer_heterogeneity_study import BASE, FULL, QUICK, Study
from benchmarks.layer_heterogeneity_tables import study_tables
from benchmarks.result_file import claims_table, write_result
from lingvo_lite.data.default_corpus import extract_default_corpus
from lingvo_lite.stage.manifest import sha256

_QUICK = flags.DEFINE_bool(
  "quick",
  False,
  "Few updates, rounds and runs: a check of the program in minutes.",
)
_OUT = flags.DEFINE_string(
  "out", None, "Folder for finished steps. Left out: one in lingvo_lite_runs."
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

  rows: list[dict[str, Any]] = []
  parts: tuple[Callable[[Study], Rows], ...] = (
    _base,
    Study.client_round_rows,
    _federated,
    Study.variant_rows,
    _central,
  )
  for part in parts:
    for row in part(study):
      rows.append(row)
      times = [
        {"kind": "seconds", "part": name, "seconds": round(seconds, 1)}
        for name, seconds in study.seconds.items()
      ]
      write_result(
        path,
        config=config,
        seconds=sum(study.seconds.values()),
        rows=rows + times,
        claims=claims_of(rows),
      )
    draw_figures(images, rows, study.importance())
  for name, seconds in study.seconds.items():
    logging.info("%s: %.1f min", name, seconds / 60)
  print(study_tables(rows))
  print(claims_table(claims_of(rows)))
  logging.info("written to %s and %s", path, images)


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

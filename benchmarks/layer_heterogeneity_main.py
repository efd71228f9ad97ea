"""Redoes the study of which layers matter, on the default corpus.

  ./bazelw run //benchmarks:layer_heterogeneity [-- --quick]

All speech is synthetic. In this order: what a round costs a client under each
plan, probes of the committed model, federated training under each plan from
several seeds, and the same probes of models trained here from other seeds, with
other norms and of another size. Results are written after each part, so that a
run that is stopped leaves what it has, and goes on when started again: into
`benchmarks/results/layer_heterogeneity.json` and `docs/images/layer_*.png`, or
with --quick below --out.
"""

from lingvo_lite.stage import entry_point

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import flags, logging

from benchmarks.client_round import measure_client_rounds
from benchmarks.layer_heterogeneity_claims import (
  agreement_row,
  churn_row,
  claims_of,
  reset_rows,
)
from benchmarks.layer_heterogeneity_figures import draw_figures
from benchmarks.layer_heterogeneity_study import BASE, FULL, QUICK, Study
from benchmarks.result_file import write_result
from fl.data.client_data import ClientData
from fl.dropout.plan import DropoutPlan
from fl.dropout.sub_model import flatten, variable_specs
from lingvo_lite.audio.spec_augment import SpecAugmentConfig
from lingvo_lite.data.default_corpus import extract_default_corpus
from lingvo_lite.data.examples import load_examples
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.data.splits import split_held_out
from lingvo_lite.models.model_file import load_model
from lingvo_lite.stage.files import read_json, write_json
from lingvo_lite.stage.manifest import sha256
from lingvo_lite.text.vocabulary import CharacterVocabulary

_QUICK = flags.DEFINE_bool(
  "quick",
  False,
  "Few updates, rounds and runs: a check of the program in minutes.",
)
_OUT = flags.DEFINE_string(
  "out", None, "Folder for finished parts. Left out: one in lingvo_lite_runs."
)

_MODEL = os.path.join("lingvo_lite", "pretrained", "tiny")
_NAME = "layer_heterogeneity"
_BATCH_SIZE, _MAX_BAD_FRACTION = 4, 0.05

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
    **dataclasses.asdict(size),
  }
  results, images = out, out
  if not _QUICK.value:
    results = os.path.join(root, "benchmarks", "results")
    images = os.path.join(root, "docs", "images")

  rows: list[dict[str, Any]] = []
  seconds = 0.0
  parts: dict[str, Callable[[Study], Rows]] = {
    "client_rounds": _client_rounds,
    "base": _base,
    "federated": _federated,
    "central": _central,
  }
  for name, part in parts.items():
    new, took = _kept(os.path.join(out, f"{name}.json"), config, study, part)
    rows += new
    seconds += took
    claims = claims_of(rows)
    write_result(
      os.path.join(results, f"{_NAME}.json"),
      config=config,
      seconds=seconds,
      rows=rows,
      claims=claims,
    )
    draw_figures(images, rows, study.importance())
    logging.info("%s: done in %.0f s", name, took)
  for claim in claims:
    value = "not measured" if claim.value is None else f"{claim.value:.4f}"
    logging.info("%s: %s (%s)", claim.claim, value, claim.target)


def _kept(
  path: str,
  config: dict[str, Any],
  study: Study,
  part: Callable[[Study], Rows],
) -> tuple[list[dict[str, Any]], float]:
  """Returns a part's rows and seconds, of an earlier run if it was the same."""
  if os.path.exists(path):
    kept = read_json(path, "a finished part of the study")
    if kept["config"] == _as_json(config):
      return kept["rows"], kept["seconds"]
  started = time.monotonic()
  rows = list(part(study))
  seconds = time.monotonic() - started
  write_json(
    path,
    {
      "schema_version": 1,
      "config": _as_json(config),
      "seconds": seconds,
      "rows": rows,
    },
  )
  return rows, seconds


def _client_rounds(study: Study) -> Rows:
  """Bytes that cross and time that clients take, under each plan."""
  plans = {
    "full" if fraction == 1.0 else f"{strategy}_{fraction}": DropoutPlan.read(
      study.plan(strategy, fraction)
    )
    for strategy, fraction in study.arms()
    if strategy != "inverse"
  }
  train, _ = split_held_out(
    load_librispeech(os.path.join(study.corpus, "clients"))
  )
  loaded = load_examples(train, CharacterVocabulary(), _MAX_BAD_FRACTION)
  data = ClientData(loaded.examples, _BATCH_SIZE, 1, SpecAugmentConfig(), 0)
  model, config = load_model(os.path.join(study.model, "model.keras"))
  yield from measure_client_rounds(
    config,
    variable_specs(model),
    flatten(model.trainable_variables).numpy(),
    plans,
    data,
    range(study.size.cohort),
    study.size.repeats,
  )


def _base(study: Study) -> Rows:
  yield from reset_rows(BASE, study.importance())


def _federated(study: Study) -> Rows:
  yield from study.federated_rows()
  yield {
    **churn_row("federated", study.federated_churn()),
    "reset_run": BASE,
  }


def _central(study: Study) -> Rows:
  importances = {}
  for preset, norm, seed in study.size.central_runs:
    name = f"{preset}_{norm}_{seed}"
    importances[name], churn, held_out_wer = study.central(preset, norm, seed)
    yield {"kind": "central", "run": name, "held_out_wer": held_out_wer}
    yield from reset_rows(name, importances[name])
    yield {**churn_row(name, churn), "reset_run": name}
  first, *others = importances
  for other in others:
    yield agreement_row(first, other, importances)


def _as_json(config: dict[str, Any]) -> dict[str, Any]:
  """Makes lists of tuples, as a file gives them back."""

  def plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
      return [plain(item) for item in value]
    if isinstance(value, dict):
      return {key: plain(item) for key, item in value.items()}
    return value

  return plain(config)


if __name__ == "__main__":
  entry_point.run(main)

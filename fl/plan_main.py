"""Decides how much of each layer the clients get.

  ./bazelw run //fl:plan -- --importance=F --model=DIR \
      --client_params_fraction=0.5 --out=DIR

The least important layers shrink first, each down to a floor, until a client's
sub-model fits the budget: so many parameters, bytes to download, or bytes of
memory. The sizes are known exactly before anything is trained. Written to
--out: dropout_plan.json, manifest.json.
"""

from lingvo_lite.stage import entry_point

import dataclasses  # noqa: I001
import os
import time
from collections.abc import Sequence

import tensorflow as tf
from absl import flags, logging

from fl.dropout.budget import Budget, client_params_budget, download_budget
from fl.dropout.client_memory import (
  LocalBatch,
  peak_memory_budget,
  peak_memory_bytes,
)
from fl.dropout.plan import plan_of
from fl.dropout.strategies import (
  STRATEGIES,
  floors_of,
  keep_by_strategy,
  reachable_floors,
)
from fl.dropout.sub_model import variable_specs
from fl.importance.churn_file import read_churn
from fl.importance.importance_file import (
  Measured,
  read_importance,
  speech_digest,
)
from lingvo_lite.data.default_corpus import find_corpus
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.model_file import load_model
from lingvo_lite.models.unit_groups import unit_groups
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.manifest import sha256, write_manifest

_FRAMES_PER_S = 100

_IMPORTANCE = flags.DEFINE_string(
  "importance",
  None,
  "importance.json of the model, written by //fl:importance.",
)
_CHURN = flags.DEFINE_string(
  "churn",
  None,
  "Instead of --importance: churn.json of the run that ended in the model,"
  " written by //fl:churn. What came least far shrinks first.",
)
_MODEL = flags.DEFINE_string(
  "model", None, "Folder with the model.keras to train.", required=True
)
_CORPUS = flags.DEFINE_string(
  "corpus",
  None,
  "Folder with the speech below server/ that the importances were measured on."
  " Left out: the default corpus (synthetic speech).",
)
_OUT = flags.DEFINE_string(
  "out",
  None,
  "Folder for dropout_plan.json and manifest.json. Left out:"
  " lingvo_lite_runs/plan.",
)
_FRACTION = flags.DEFINE_float(
  "client_params_fraction",
  None,
  "Most of the model's parameters that a client may get, in (0, 1]; 1 is plain"
  " federated averaging. Left out, and no other budget given: 0.5.",
)
_DOWNLOAD_BYTES = flags.DEFINE_integer(
  "client_download_bytes", None, "Most bytes that a client receives each round."
)
_PEAK_MEMORY_BYTES = flags.DEFINE_integer(
  "client_peak_memory_bytes",
  None,
  "Most memory that a client's training takes, by the model of it in"
  " fl/dropout/client_memory.py.",
)
_LARGEST_BATCH = flags.DEFINE_integer(
  "largest_batch", 4, "Utterances a local step, for --client_peak_memory_bytes."
)
_LONGEST_UTTERANCE_S = flags.DEFINE_float(
  "longest_utterance_s",
  16.0,
  "Of the clients' speech, for --client_peak_memory_bytes.",
)
_STRATEGY = flags.DEFINE_enum(
  "strategy",
  "ranked",
  STRATEGIES,
  "ranked: the least important layers shrink first; uniform: all alike;"
  " inverse: the most important first, as a control.",
)
_MIN_KEEP_RATE = flags.DEFINE_float(
  "min_keep_rate",
  None,
  "Least fraction of a layer's units that is kept, in (0, 1]. Left out: the"
  " first of 1/4, 1/8, 1/16, ... that allows the budget.",
)


def main(argv: Sequence[str]) -> None:
  """Makes the plan and writes it."""
  del argv
  started = time.monotonic()
  model_path = os.path.join(entry_point.user_path(_MODEL.value), "model.keras")
  if bool(_IMPORTANCE.value) == bool(_CHURN.value):
    raise InputError(
      "found both or neither of --importance and --churn, expected one: a plan"
      " ranks the layers by what resetting them costs or by how far they moved"
    )
  ranking_path = entry_point.user_path(_IMPORTANCE.value or _CHURN.value)
  model, config = load_model(model_path)
  specs, groups = variable_specs(model), unit_groups(config)
  importances = _importances(ranking_path, config, sha256(model_path))
  batch = LocalBatch(
    _LARGEST_BATCH.value, round(_LONGEST_UTTERANCE_S.value * _FRAMES_PER_S)
  )
  budget = _budget(model, config, batch)
  if _MIN_KEEP_RATE.value is None:
    floors = reachable_floors(groups, budget)
  else:
    floors = floors_of(groups, _MIN_KEEP_RATE.value)
  kept = keep_by_strategy(_STRATEGY.value, groups, importances, budget, floors)
  plan = plan_of(config.to_dict(), specs, groups, kept, _STRATEGY.value)
  memory_bytes = peak_memory_bytes(config.with_widths(kept), batch)
  out = (
    entry_point.user_path(_OUT.value)
    if _OUT.value
    else entry_point.default_folder("plan")
  )
  path = os.path.join(out, "dropout_plan.json")
  plan.write(path)
  write_manifest(
    out,
    stage="plan",
    config={
      "budget": {budget.name: budget.limit},
      "floors": floors,
      "strategy": _STRATEGY.value,
      "largest_batch": dataclasses.asdict(batch),
    },
    seed=0,
    inputs=[model_path, ranking_path],
    outputs=[path],
    seconds=time.monotonic() - started,
    metrics={
      "server_params": plan.server_params,
      "client_params": plan.client_params,
      "download_bytes_per_client": plan.download_bytes_per_client,
      "upload_bytes_per_client": plan.upload_bytes_per_client,
      "client_peak_memory_bytes": memory_bytes,
    },
  )
  for name, rate in plan.keep_rates.items():
    logging.info("%-22s keeps %4.0f%%", name, 100 * rate)
  logging.info(
    "a client gets %d of %d parameters (%.1f%%); %.2f MB down and %.2f MB up a"
    " round, %.0f MB of memory; written to %s",
    plan.client_params,
    plan.server_params,
    100 * plan.client_params / plan.server_params,
    plan.download_bytes_per_client / 1e6,
    plan.upload_bytes_per_client / 1e6,
    memory_bytes / 1e6,
    out,
  )


def _importances(
  path: str, config: ConformerConfig, model_sha256: str
) -> dict[str, float]:
  """Reads what the layers are ranked by, of this very model."""
  if _CHURN.value:
    names = [group.name for group in unit_groups(config)]
    return read_churn(path, config.to_dict(), model_sha256, names)
  speech = load_librispeech(os.path.join(find_corpus(_CORPUS.value), "server"))
  return read_importance(
    path, Measured(config.to_dict(), model_sha256, speech_digest(speech))
  )


def _budget(
  model: tf.keras.Model, config: ConformerConfig, batch: LocalBatch
) -> Budget:
  """Makes the one budget that was asked for."""
  given = [
    flag.name
    for flag in (_FRACTION, _DOWNLOAD_BYTES, _PEAK_MEMORY_BYTES)
    if flag.value is not None
  ]
  if len(given) > 1:
    raise InputError(
      f"found {' and '.join(f'--{name}' for name in given)}, expected one"
      " budget: leave out the others"
    )
  specs, groups = variable_specs(model), unit_groups(config)
  if _DOWNLOAD_BYTES.value is not None:
    return download_budget(specs, groups, _DOWNLOAD_BYTES.value)
  if _PEAK_MEMORY_BYTES.value is not None:
    return peak_memory_budget(config, batch, _PEAK_MEMORY_BYTES.value)
  fraction = 0.5 if _FRACTION.value is None else _FRACTION.value
  return client_params_budget(specs, groups, fraction)


if __name__ == "__main__":
  entry_point.run(main)

"""Measures how far training moves each layer, and whether that tells its worth.

  ./bazelw run //fl:churn -- --importance=F --checkpoints=A.keras,B.keras,...
  ./bazelw run //fl:churn -- --importance=F --training=DIR/training.json

The first reads saved models of a central run, the second the rounds of a
federated one; neither touches training. Written to --out: churn.json,
manifest.json.
"""

from lingvo_lite.stage import entry_point

import os  # noqa: I001
import time
from collections.abc import Sequence

from absl import flags, logging

from fl.importance.churn_file import (
  against_importance,
  central_churn,
  federated_churn,
  last_model,
)
from fl.importance.importance_file import group_importances
from fl.importance.probes import parts_of
from lingvo_lite.models.model_file import load_config
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import write_json
from lingvo_lite.stage.manifest import sha256, write_manifest

_IMPORTANCE = flags.DEFINE_string(
  "importance",
  None,
  "importance.json of the same kind of model.",
  required=True,
)
_CHECKPOINTS = flags.DEFINE_list(
  "checkpoints",
  [],
  "Saved .keras files of one central run, the earliest first.",
)
_TRAINING = flags.DEFINE_string(
  "training",
  None,
  "training.json of a federated run, in the folder that //fl:train wrote.",
)
_OUT = flags.DEFINE_string(
  "out",
  None,
  "Folder for churn.json and manifest.json. Left out: lingvo_lite_runs/churn.",
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the confidence intervals.")


def main(argv: Sequence[str]) -> None:
  """Measures and writes what was found."""
  del argv
  started = time.monotonic()
  if bool(_CHECKPOINTS.value) == bool(_TRAINING.value):
    raise InputError(
      "found both or neither of --checkpoints and --training, expected one:"
      " churn is of a central run or of a federated one"
    )
  importance_path = entry_point.user_path(_IMPORTANCE.value)
  if _TRAINING.value:
    training = entry_point.user_path(_TRAINING.value)
    paths = [training, last_model(training)]
    churn = federated_churn(training)
  else:
    paths = [entry_point.user_path(path) for path in _CHECKPOINTS.value]
    churn = central_churn(paths, parts_of(load_config(paths[0])))
  model = load_config(paths[-1]).to_dict()
  importances = group_importances(importance_path, model)
  agreement = {
    name: against_importance(churn[name], importances, _SEED.value)
    for name in ("mean", "distance")
    if name in churn
  }
  out = (
    entry_point.user_path(_OUT.value)
    if _OUT.value
    else entry_point.default_folder("churn")
  )
  path = os.path.join(out, "churn.json")
  write_json(
    path,
    {
      "schema_version": 1,
      "model": model,
      # Where the run ended: //fl:plan --churn plans for that model only.
      "model_sha256": sha256(paths[-1]),
      **churn,
      "agreement": agreement,
    },
  )
  write_manifest(
    out,
    stage="churn",
    config={},
    seed=_SEED.value,
    inputs=[importance_path, *paths],
    outputs=[path],
    seconds=time.monotonic() - started,
    metrics=agreement,
  )
  for name, found in agreement.items():
    if found["rho"] is None:
      logging.info("%s: all groups matter alike, so nothing to rank", name)
      continue
    logging.info(
      "%s against importance: Spearman %.2f (95%%: %.2f to %.2f)",
      name,
      found["rho"],
      found["low"],
      found["high"],
    )
  logging.info("written to %s", out)


if __name__ == "__main__":
  entry_point.run(main)

"""Decides how much of each layer the clients get.

  ./bazelw run //fl:plan -- --importance=F --model=DIR \
      --client_params_fraction=0.5 --out=DIR

The least important layers shrink first, each down to a floor, until a client's
sub-model fits the budget. The sizes are known exactly before anything is
trained. Written to --out: dropout_plan.json, manifest.json.
"""

from lingvo_lite.stage import entry_point

import os  # noqa: I001
import time
from collections.abc import Sequence

from absl import flags, logging

from fl.dropout.plan import ranked_plan
from fl.dropout.sub_model import variable_specs
from fl.importance.importance_file import read_importance
from lingvo_lite.models.model_file import load_model
from lingvo_lite.models.unit_groups import unit_groups
from lingvo_lite.stage.manifest import write_manifest

_IMPORTANCE = flags.DEFINE_string(
  "importance",
  None,
  "importance.json of the model, written by //fl:importance.",
  required=True,
)
_MODEL = flags.DEFINE_string(
  "model", None, "Folder with the model.keras to train.", required=True
)
_OUT = flags.DEFINE_string(
  "out",
  None,
  "Folder for dropout_plan.json and manifest.json. Left out:"
  " lingvo_lite_runs/plan.",
)
_FRACTION = flags.DEFINE_float(
  "client_params_fraction",
  0.5,
  "Most of the model's parameters that a client may get, in (0, 1]; 1 is plain"
  " federated averaging.",
)
_MIN_KEEP_RATE = flags.DEFINE_float(
  "min_keep_rate",
  0.25,
  "Least fraction of a layer's units that is kept, in (0, 1].",
)


def main(argv: Sequence[str]) -> None:
  """Makes the plan and writes it."""
  del argv
  started = time.monotonic()
  model_path = os.path.join(entry_point.user_path(_MODEL.value), "model.keras")
  importance_path = entry_point.user_path(_IMPORTANCE.value)
  model, config = load_model(model_path)
  plan = ranked_plan(
    config.to_dict(),
    variable_specs(model),
    unit_groups(config),
    read_importance(importance_path, config.to_dict()),
    _FRACTION.value,
    _MIN_KEEP_RATE.value,
  )
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
      "client_params_fraction": _FRACTION.value,
      "min_keep_rate": _MIN_KEEP_RATE.value,
      "strategy": "ranked",
    },
    seed=0,
    inputs=[model_path, importance_path],
    outputs=[path],
    seconds=time.monotonic() - started,
    metrics={
      "server_params": plan.server_params,
      "client_params": plan.client_params,
      "download_bytes_per_client": plan.download_bytes_per_client,
      "upload_bytes_per_client": plan.upload_bytes_per_client,
    },
  )
  for name, rate in plan.keep_rates.items():
    logging.info("%-22s keeps %4.0f%%", name, 100 * rate)
  logging.info(
    "a client gets %d of %d parameters (%.1f%%); %.2f MB down and %.2f MB up a"
    " round; written to %s",
    plan.client_params,
    plan.server_params,
    100 * plan.client_params / plan.server_params,
    plan.download_bytes_per_client / 1e6,
    plan.upload_bytes_per_client / 1e6,
    out,
  )


if __name__ == "__main__":
  entry_point.run(main)

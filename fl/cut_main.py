"""Cuts a smaller model out of a trained one.

  ./bazelw run //fl:cut -- --model=DIR --plan=dropout_plan.json --out=DIR

The sub-model keeps as many units of each layer as the plan says: the leading
ones in --unit_order, which training with --mask_scope=run has taught to work on
their own, or else those of the largest weights. It is a model like any other,
to be compressed and exported. Written to --out: model.keras, manifest.json.
"""

from lingvo_lite.stage import entry_point

import os  # noqa: I001
import time
from collections.abc import Sequence

from absl import flags, logging

from fl.dropout.cut import cut_out
from fl.dropout.plan import DropoutPlan
from fl.dropout.sub_model import flatten, variable_specs
from fl.dropout.unit_order import order_by_magnitude, read_unit_order
from lingvo_lite.models.model_file import load_model, save_model
from lingvo_lite.models.unit_groups import unit_groups
from lingvo_lite.stage.manifest import write_manifest

_MODEL = flags.DEFINE_string(
  "model", None, "Folder with the trained model.keras.", required=True
)
_PLAN = flags.DEFINE_string(
  "plan",
  None,
  "dropout_plan.json for this kind of model, of any size.",
  required=True,
)
_UNIT_ORDER = flags.DEFINE_string(
  "unit_order",
  None,
  "unit_order.json that the model was trained with. Left out: units are ordered"
  " by the magnitude of their weights in --model.",
)
_OUT = flags.DEFINE_string(
  "out",
  None,
  "Folder for model.keras and manifest.json. Left out: lingvo_lite_runs/cut.",
)


def main(argv: Sequence[str]) -> None:
  """Cuts the model out and writes it."""
  del argv
  started = time.monotonic()
  model_path = os.path.join(entry_point.user_path(_MODEL.value), "model.keras")
  plan_path = entry_point.user_path(_PLAN.value)
  inputs = [model_path, plan_path]
  model, config = load_model(model_path)
  plan = DropoutPlan.read(plan_path)
  if _UNIT_ORDER.value:
    inputs.append(entry_point.user_path(_UNIT_ORDER.value))
    order = read_unit_order(inputs[-1])
  else:
    order = order_by_magnitude(
      variable_specs(model),
      unit_groups(config),
      flatten(model.trainable_variables).numpy(),
    )
  cut, narrow = cut_out(model, config, plan, order)
  out = (
    entry_point.user_path(_OUT.value)
    if _OUT.value
    else entry_point.default_folder("cut")
  )
  path = os.path.join(out, "model.keras")
  save_model(cut, narrow, path)
  write_manifest(
    out,
    stage="cut",
    config={"model": narrow.to_dict(), "keep_rates": plan.keep_rates},
    seed=0,
    inputs=inputs,
    outputs=[path],
    seconds=time.monotonic() - started,
    metrics={
      "parameters": cut.count_params(),
      "full_parameters": model.count_params(),
    },
  )
  logging.info(
    "%d of %d parameters; written to %s",
    cut.count_params(),
    model.count_params(),
    out,
  )


if __name__ == "__main__":
  entry_point.run(main)

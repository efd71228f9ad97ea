"""Cuts a plan's sub-model out as a model of its own.

The paper family's claim (Guliani et al., "Federated Dropout for ASR"): models
that were trained with units dropped hold smaller ones that work on their own,
so that the size to ship can be chosen after training.
"""

import tensorflow as tf

from fl.dropout.plan import DropoutPlan
from fl.dropout.sub_model import flatten, unflatten, variable_specs
from fl.dropout.unit_order import UnitOrder, leading_units
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.unit_groups import unit_groups
from lingvo_lite.stage.errors import InputError


def cut_out(
  model: tf.keras.Model,
  config: ConformerConfig,
  plan: DropoutPlan,
  order: UnitOrder,
) -> tuple[tf.keras.Model, ConformerConfig]:
  """Returns the sub-model of the leading units, and its configuration.

  Args:
    model: the full model, trained.
    config: its configuration.
    plan: how many units of each group.
    order: which come first: the one that it was trained with where all clients
      had the same units (`--mask_scope=run`), else that of its magnitudes.

  Raises:
    InputError: the model is cut out already, or the plan or the order is of
      another one.
  """
  if config.widths:
    raise InputError(
      "found a model that is a sub-model itself, expected the full one: name"
      " the folder that //fl:train wrote"
    )
  plan.check_model(config.to_dict())
  sub_model = plan.sub_model(variable_specs(model), unit_groups(config))
  units = {
    name: tf.constant(of_group, tf.int32)
    for name, of_group in leading_units(sub_model, order).items()
  }
  part = sub_model.extract(flatten(model.trainable_variables), units)
  narrow = config.with_widths(
    {name: kept for name, _, kept in sub_model.narrowed}
  )
  cut = build_ctc_model(narrow)
  for variable, value in zip(
    cut.trainable_variables,
    unflatten(part, sub_model.client_shapes),
    strict=True,
  ):
    variable.assign(value)
  return cut, narrow

"""Which units of a layer come first when only some are kept."""

from collections.abc import Mapping, Sequence

import numpy as np

from fl.dropout.sub_model import SubModel, VariableSpec
from lingvo_lite.models.unit_groups import UnitGroup, axis_indices
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import read_json, write_json

# By group name, all its units, the first to be kept first: int[units].
UnitOrder = Mapping[str, Sequence[int]]


def order_by_magnitude(
  specs: Sequence[VariableSpec],
  groups: Sequence[UnitGroup],
  weights: np.ndarray,
) -> dict[str, list[int]]:
  """Orders each group's units by the norm of all weights that belong to them.

  Args:
    specs: the full model's variables.
    groups: its width groups.
    weights: float32[P], all variables, flattened one after another.

  Returns:
    By group name, the units from the largest norm to the smallest; of equal
    ones the lower number is first.
  """
  edges = np.cumsum([spec.size for spec in specs])[:-1]
  values = {
    spec.name: part.reshape(spec.shape)
    for spec, part in zip(specs, np.split(weights, edges), strict=True)
  }
  order = {}
  for group in groups:
    squares = np.zeros(group.units)
    for part in group.slices:
      if part.variable not in values:
        raise InputError(
          f"found the group {group.name} over {part.variable}, expected one of"
          " the model's variables: the groups are of another model"
        )
      square = np.square(values[part.variable].astype(np.float64))
      along = np.moveaxis(square, part.axis, 0).reshape(
        square.shape[part.axis], -1
      )
      table = axis_indices(group, part, np.arange(group.units)).reshape(
        part.copies, group.units, part.unit_size
      )
      squares += along.sum(1)[table].sum((0, 2))
    order[group.name] = np.argsort(-squares, kind="stable").tolist()
  return order


def leading_units(
  sub_model: SubModel, order: UnitOrder
) -> dict[str, list[int]]:
  """Returns the first units of each narrowed group, in ascending order.

  Raises:
    InputError: the order is not one of the group's units.
  """
  leading = {}
  for name, units, kept in sub_model.narrowed:
    if sorted(order.get(name, ())) != list(range(units)):
      raise InputError(
        f"found no order of the {units} units of {name}, expected each of them"
        " once: is the order of another model?"
      )
    leading[name] = sorted(order[name][:kept])
  return leading


def write_unit_order(path: str, order: UnitOrder) -> None:
  """Writes `unit_order.json`."""
  write_json(
    path,
    {"schema_version": 1, "order": {k: list(v) for k, v in order.items()}},
  )


def read_unit_order(path: str) -> dict[str, list[int]]:
  """Reads what `write_unit_order` wrote; raises InputError if it cannot."""
  values = read_json(path, "an order of units (unit_order.json)")
  try:
    return {
      name: [int(unit) for unit in units]
      for name, units in values["order"].items()
    }
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise InputError(
      f"found {path} without a proper {error}, expected an order of units:"
      " train again with //fl:train"
    ) from error

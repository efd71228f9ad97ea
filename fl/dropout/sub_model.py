"""Cuts a sub-model out of a model's weights, and puts it back.

Weights travel as one vector: all variables, each flattened, one after another
in the model's order. A sub-model's vector is a selection of its entries, so
that extracting is one gather and scattering is one scatter. The functions work
inside a graph and eagerly alike.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from lingvo_lite.models.unit_groups import UnitGroup, axis_indices
from lingvo_lite.stage.errors import InputError


@dataclasses.dataclass(frozen=True)
class VariableSpec:
  """A trainable float32 variable's name and static shape."""

  name: str
  shape: tuple[int, ...]

  @property
  def size(self) -> int:
    """How many numbers it holds."""
    return math.prod(self.shape)


def variable_specs(model: tf.keras.Model) -> tuple[VariableSpec, ...]:
  """Returns a model's trainable variables, in its order.

  Args:
    model: any Keras model.

  Raises:
    InputError: it has other variables, such as batch norm's moving averages.
  """
  if model.non_trainable_variables:
    raise InputError(
      f"found {model.non_trainable_variables[0].name}, a variable that is not"
      " trained by gradients, expected none in federated training: batch norm"
      " has no federated form here, use norm='group' or norm='layer'"
    )
  return tuple(
    VariableSpec(variable.name, tuple(variable.shape.as_list()))
    for variable in model.trainable_variables
  )


def flatten(values: Sequence[np.ndarray | tf.Tensor]) -> tf.Tensor:
  """Joins variables' values into one vector, float32[P]."""
  return tf.concat([tf.reshape(value, [-1]) for value in values], 0)


def unflatten(
  flat: tf.Tensor, shapes: Sequence[tuple[int, ...]]
) -> list[tf.Tensor]:
  """Splits float32[P] into tensors of the shapes, in order."""
  parts = tf.split(flat, [math.prod(shape) for shape in shapes])
  return [
    tf.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)
  ]


class SubModel:
  """Which entries of a model's weights a sub-model holds.

  Args:
    specs: the full model's variables.
    groups: which axes share a width.
    kept: units kept, by group name; a group not named is kept whole.

  Raises:
    InputError: a group or variable that does not exist, or a width that does
      not fit.
  """

  def __init__(
    self,
    specs: Sequence[VariableSpec],
    groups: Sequence[UnitGroup],
    kept: Mapping[str, int],
  ) -> None:
    self._specs = tuple(specs)
    by_name = {group.name: group for group in groups}
    for name, units in kept.items():
      if name not in by_name:
        raise InputError(
          f"found the group {name!r} in the plan, expected one of this model's,"
          f" such as {next(iter(by_name), 'none')!r}: make the plan for this"
          " model"
        )
      if not 1 <= units <= by_name[name].units:
        raise InputError(
          f"found {units} kept units for {name}, expected 1 to"
          f" {by_name[name].units}"
        )
    # Groups kept whole need no selection at all.
    self._groups = [
      group
      for group in groups
      if kept.get(group.name, group.units) < group.units
    ]
    self._kept = {group.name: kept[group.name] for group in self._groups}
    self._axes = self._claim_axes()
    self.client_shapes = tuple(
      self._client_shape(index) for index in range(len(self._specs))
    )
    self.server_params = sum(spec.size for spec in self._specs)
    self.client_params = sum(math.prod(shape) for shape in self.client_shapes)

  @property
  def narrowed(self) -> tuple[tuple[str, int, int], ...]:
    """`(group, units of the full model, units kept)` where they differ."""
    return tuple(
      (group.name, group.units, self._kept[group.name])
      for group in self._groups
    )

  def indices(self, units: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns where the sub-model's entries lie in the full vector.

    Args:
      units: by name of each narrowed group, int32[K].

    Returns:
      int32[client_params], in the order of the sub-model's own vector.
    """
    parts, start = [], 0
    for index, spec in enumerate(self._specs):
      axes = self._axes.get(index)
      if not axes:
        parts.append(tf.range(start, start + spec.size))
      else:
        places = tf.constant(start)
        for axis, size in enumerate(spec.shape):
          if axis in axes:
            group, table = axes[axis]
            chosen = tf.reshape(tf.gather(table, units[group], axis=1), [-1])
          else:
            chosen = tf.range(size)
          stride = math.prod(spec.shape[axis + 1 :])
          places = places[..., tf.newaxis] + chosen * stride
        parts.append(tf.reshape(places, [-1]))
      start += spec.size
    indices = tf.concat(parts, 0)
    return tf.ensure_shape(indices, [self.client_params])

  @property
  def is_whole(self) -> bool:
    """Whether the sub-model is the full model."""
    return not self._groups

  def extract(
    self, full: tf.Tensor, units: Mapping[str, tf.Tensor]
  ) -> tf.Tensor:
    """float32[server_params] -> float32[client_params]."""
    if self.is_whole:
      return tf.identity(full)
    return tf.gather(full, self.indices(units))

  def scatter_add(
    self,
    full: Sequence[tf.Tensor],
    parts: Sequence[tf.Tensor],
    units: Mapping[str, tf.Tensor],
  ) -> list[tf.Tensor]:
    """Adds float32[client_params] vectors into float32[server_params] ones."""
    if self.is_whole:
      return [a + b for a, b in zip(full, parts, strict=True)]
    indices = self.indices(units)[:, tf.newaxis]
    return [
      tf.tensor_scatter_nd_add(a, indices, b)
      for a, b in zip(full, parts, strict=True)
    ]

  def _claim_axes(self) -> dict[int, dict[int, tuple[str, np.ndarray]]]:
    """By variable and axis: the group, and its units' indices.

    The indices are int32[copies, units, unit_size]: gathering units along the
    middle gives what `axis_indices` returns for them.
    """
    numbers = {spec.name: index for index, spec in enumerate(self._specs)}
    axes: dict[int, dict[int, tuple[str, np.ndarray]]] = {}
    for group in self._groups:
      for part in group.slices:
        number = numbers.get(part.variable)
        if number is None:
          raise InputError(
            f"found the group {group.name} over {part.variable}, expected one"
            " of the model's variables: the groups are of another model"
          )
        table = axis_indices(group, part, np.arange(group.units))
        if self._specs[number].shape[part.axis] != len(table):
          raise InputError(
            f"found axis {part.axis} of {part.variable} to have"
            f" {self._specs[number].shape[part.axis]} entries, expected"
            f" {len(table)} for {group.name}: the groups are of another model"
          )
        table = table.reshape(part.copies, group.units, part.unit_size)
        claimed = axes.setdefault(number, {})
        if part.axis in claimed:
          raise InputError(
            f"found axis {part.axis} of {part.variable} in {group.name} and in"
            f" {claimed[part.axis][0]}, expected it in one group"
          )
        claimed[part.axis] = (group.name, table.astype(np.int32))
    return axes

  def _client_shape(self, number: int) -> tuple[int, ...]:
    shape = list(self._specs[number].shape)
    for axis, (group, table) in self._axes.get(number, {}).items():
      shape[axis] = table.shape[0] * self._kept[group] * table.shape[2]
    return tuple(shape)

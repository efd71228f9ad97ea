"""Which units of a layer a client gets in a round."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from fl.dropout.sub_model import SubModel, VariableSpec
from lingvo_lite.models.unit_groups import UnitGroup, axis_indices
from lingvo_lite.stage.errors import InputError

MASK_SCOPES = ("client", "round", "run")

# By group name, all its units, the first to be kept first: int[units].
UnitOrder = Mapping[str, Sequence[int]]


class UnitSelection(abc.ABC):
  """Says which units a client gets, the same on both sides: none are sent.

  Attributes:
    sub_model: how many units of which groups are kept.
  """

  sub_model: SubModel

  @abc.abstractmethod
  def units(
    self, round_number: tf.Tensor, client: tf.Tensor
  ) -> dict[str, tf.Tensor]:
    """Returns the kept units by name of each narrowed group.

    Args:
      round_number: int32[].
      client: int32[], the client's number among all clients.

    Returns:
      int32[K] in ascending order, for each group.
    """


@dataclasses.dataclass(frozen=True)
class RandomUnits(UnitSelection):
  """Units drawn uniformly, anew each round.

  Attributes:
    sub_model: how many units of which groups are kept.
    seed: of the whole run.
    mask_scope: `client`: each client of a round has its own units, as in the
      paper (Guliani et al., "Federated Dropout for ASR"); `round`: all of them
      share one draw, as secure sums need.
  """

  sub_model: SubModel
  seed: int
  mask_scope: str

  def __post_init__(self):
    if self.mask_scope not in ("client", "round"):
      raise InputError(
        f"found mask_scope {self.mask_scope!r}, expected client or round"
      )

  def units(
    self, round_number: tf.Tensor, client: tf.Tensor
  ) -> dict[str, tf.Tensor]:
    if self.mask_scope == "round":
      client = tf.zeros_like(client)
    seed = fold_in(self.seed, round_number, client)
    drawn = {}
    for index, (name, units, kept) in enumerate(self.sub_model.narrowed):
      group_seed = tf.random.experimental.stateless_fold_in(seed, index)
      order = tf.argsort(tf.random.stateless_uniform([units], group_seed))
      drawn[name] = tf.sort(order[:kept])
    return drawn


@dataclasses.dataclass(frozen=True)
class LeadingUnits(UnitSelection):
  """The leading units of an order, for every client and round alike.

  A smaller keep rate's units are among those of a larger one: sub-models are
  nested, and those of any size work on their own after training.

  Attributes:
    sub_model: how many units of which groups are kept.
    order: as `order_by_magnitude` makes it.

  Reference: Horvath et al. 2021, "FjORD": ordered dropout.
  """

  sub_model: SubModel
  order: UnitOrder

  def __post_init__(self):
    for name, units, _ in self.sub_model.narrowed:
      if sorted(self.order.get(name, ())) != list(range(units)):
        raise InputError(
          f"found no order of the {units} units of {name}, expected each of"
          " them once: is the order of another model?"
        )

  def units(
    self, round_number: tf.Tensor, client: tf.Tensor
  ) -> dict[str, tf.Tensor]:
    del round_number, client
    return {
      name: tf.constant(np.sort(self.order[name][:kept]), tf.int32)
      for name, _, kept in self.sub_model.narrowed
    }


def unit_selection(
  mask_scope: str, sub_model: SubModel, seed: int, order: UnitOrder
) -> UnitSelection:
  """Returns the selection of a `--mask_scope`.

  Args:
    mask_scope: one of `MASK_SCOPES`: who shares the same units. `run`: all
      clients of all rounds, the leading ones of `order`.
    sub_model: how many units of which groups are kept.
    seed: of the whole run.
    order: of the units, for `run`.

  Raises:
    InputError: no such scope.
  """
  if mask_scope == "run":
    return LeadingUnits(sub_model, order)
  return RandomUnits(sub_model, seed, mask_scope)


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


def fold_in(seed: int, *numbers: tf.Tensor) -> tf.Tensor:
  """Returns a stateless seed, int32[2], that depends on all the numbers."""
  folded = tf.constant([seed, 0], tf.int32)
  for number in numbers:
    folded = tf.random.experimental.stateless_fold_in(folded, number)
  return folded

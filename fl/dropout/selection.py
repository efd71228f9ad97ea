"""Which units of a layer a client gets in a round."""

import abc
import dataclasses

import tensorflow as tf

from fl.dropout.sub_model import SubModel
from fl.dropout.unit_order import UnitOrder, leading_units
from lingvo_lite.stage.errors import InputError

MASK_SCOPES = ("client", "round", "run")


class UnitSelection(abc.ABC):
  """Says which units a client gets, the same on both sides: none are sent.

  Attributes:
    sub_model: how many units of which groups are kept.
  """

  sub_model: SubModel

  @property
  @abc.abstractmethod
  def is_shared(self) -> bool:
    """Whether all clients of a round get the same units."""

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

  @property
  def is_shared(self) -> bool:
    return self.mask_scope == "round"

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
    leading_units(self.sub_model, self.order)

  @property
  def is_shared(self) -> bool:
    return True

  def units(
    self, round_number: tf.Tensor, client: tf.Tensor
  ) -> dict[str, tf.Tensor]:
    del round_number, client
    return {
      name: tf.constant(units, tf.int32)
      for name, units in leading_units(self.sub_model, self.order).items()
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


def fold_in(seed: int, *numbers: tf.Tensor) -> tf.Tensor:
  """Returns a stateless seed, int32[2], that depends on all the numbers."""
  folded = tf.constant([seed, 0], tf.int32)
  for number in numbers:
    folded = tf.random.experimental.stateless_fold_in(folded, number)
  return folded

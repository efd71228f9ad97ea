"""Which units of a layer a client gets in a round."""

import dataclasses

import tensorflow as tf

from fl.dropout.sub_model import SubModel
from lingvo_lite.stage.errors import InputError

MASK_SCOPES = ("client", "round")


@dataclasses.dataclass(frozen=True)
class RandomUnits:
  """Units drawn uniformly, anew each round.

  Both sides draw them from the same seed, so that no indices are sent.

  Attributes:
    sub_model: how many units of which groups are kept.
    seed: of the whole run.
    mask_scope: `client`: each client of a round has its own units; `round`: all
      of them share one draw, as secure sums need.
  """

  sub_model: SubModel
  seed: int
  mask_scope: str

  def __post_init__(self):
    if self.mask_scope not in MASK_SCOPES:
      raise InputError(
        f"found mask_scope {self.mask_scope!r}, expected one of"
        f" {', '.join(MASK_SCOPES)}"
      )

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
    if self.mask_scope == "round":
      client = tf.zeros_like(client)
    seed = fold_in(self.seed, round_number, client)
    drawn = {}
    for index, (name, units, kept) in enumerate(self.sub_model.narrowed):
      group_seed = tf.random.experimental.stateless_fold_in(seed, index)
      order = tf.argsort(tf.random.stateless_uniform([units], group_seed))
      drawn[name] = tf.sort(order[:kept])
    return drawn


def fold_in(seed: int, *numbers: tf.Tensor) -> tf.Tensor:
  """Returns a stateless seed, int32[2], that depends on all the numbers."""
  folded = tf.constant([seed, 0], tf.int32)
  for number in numbers:
    folded = tf.random.experimental.stateless_fold_in(folded, number)
  return folded

"""Clients that misbehave on purpose, to see that training goes on.

Who fails in which way is drawn from (seed, round, client), so that a run with
faults can be repeated and resumed like any other.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from lingvo_lite.stage.errors import InputError

# Far above any update that training makes, and still finite.
_OVERSIZED_BY = 1e6
# Keeps these draws apart from those of cohorts and of dropout.
_SALT = 911


@dataclasses.dataclass(frozen=True)
class FaultConfig:
  """Fractions of clients that fail, each in [0, 1], drawn anew each round.

  A client fails in one way at most; the fractions add up to 1 at most.

  Attributes:
    dropout: never answer.
    slow: take `slowdown` times as long as they should.
    nan: send an update with a NaN.
    inf: send an update with an infinite value.
    oversized: send an update a million times too large.
    misshapen: send an update with one value too many.
    crash: crash the computation of the whole round.
    slowdown: how many times as long slow clients take, above 1.
    seed: of who fails.
  """

  dropout: float = 0.0
  slow: float = 0.0
  nan: float = 0.0
  inf: float = 0.0
  oversized: float = 0.0
  misshapen: float = 0.0
  crash: float = 0.0
  slowdown: float = 10.0
  seed: int = 0

  def __post_init__(self):
    for name, value in self._fractions().items():
      if not 0 <= value <= 1:
        raise InputError(
          f"found --fault_{name}={value}, expected a fraction in [0, 1]"
        )
    total = sum(self._fractions().values())
    if total > 1:
      raise InputError(
        f"found --fault_* fractions that add up to {total:g}, expected 1 at"
        " most: a client fails in one way"
      )
    if not self.slowdown > 1:
      raise InputError(
        f"found --fault_slowdown={self.slowdown}, expected more than 1"
      )

  def _fractions(self) -> dict[str, float]:
    values = dataclasses.asdict(self)
    return {k: values[k] for k in values if k not in ("slowdown", "seed")}

  @property
  def sabotages(self) -> bool:
    """Whether any client's message or computation is to be broken."""
    return any((self.nan, self.inf, self.oversized, self.misshapen, self.crash))

  def fault(
    self, round_number: int, client: int, attempt: int = 0
  ) -> str | None:
    """Returns how a client fails in a round, a fraction's name, or None.

    Args:
      round_number: from 0.
      client: its number.
      attempt: at the round; who did not answer may answer the next time. What
        `sabotage` breaks is that of the first attempt.
    """
    if not any(self._fractions().values()):
      return None
    numbers = [round_number, client] + ([attempt] if attempt else [])
    place = float(self._place(*(tf.constant(number) for number in numbers)))
    for name, (low, high) in self._intervals().items():
      if low <= place < high:
        return name
    return None

  def sabotage(
    self, update: tf.Tensor, round_number: tf.Tensor, client: tf.Tensor
  ) -> tf.Tensor:
    """Breaks a client's update if it is its turn; inside a graph.

    Args:
      update: float32[p].
      round_number: int32[].
      client: int32[].

    Returns:
      float32[q], where q is p unless the update is to be misshapen.
    """
    place = self._place(round_number, client)
    intervals = self._intervals()

    def is_turn(name: str) -> tf.Tensor:
      low, high = intervals[name]
      return (place >= low) & (place < high)

    check = tf.debugging.Assert(
      tf.logical_not(is_turn("crash")), ["a client crashed, on purpose"]
    )
    with tf.control_dependencies([check]):
      update = tf.identity(update)
    first = tf.one_hot(0, tf.size(update), on_value=True, off_value=False)
    for name, value in (("nan", np.nan), ("inf", np.inf)):
      update = tf.where(is_turn(name) & first, value, update)
    update = update * tf.where(is_turn("oversized"), _OVERSIZED_BY, 1.0)
    extra = tf.cast(is_turn("misshapen"), tf.int32)
    return tf.pad(update, [[0, extra]])

  def _place(self, *numbers: tf.Tensor) -> tf.Tensor:
    seed = tf.constant([self.seed, _SALT], tf.int32)
    for number in numbers:
      seed = tf.random.experimental.stateless_fold_in(seed, number)
    return tf.random.stateless_uniform([], seed)

  def _intervals(self) -> dict[str, tuple[float, float]]:
    """Where in [0, 1) a client's draw means which fault."""
    edges = np.cumsum([0.0, *self._fractions().values()])
    return {
      name: (float(low), float(high))
      for name, low, high in zip(
        self._fractions(), edges[:-1], edges[1:], strict=True
      )
    }

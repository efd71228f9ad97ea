"""Dropout of whole units: training that knows sub-models."""

from typing import Any

import tensorflow as tf

# As narrow as dropout plans may make a group.
LEAST_UNIT_KEEP_RATE = 0.25

# More than can be kept: so that a good part of the draws keep every unit.
_HIGHEST_DRAW = 1.25


class RampedKeepRate:
  """A least keep rate that training lowers as it goes.

  A plain object around the variable, so that Keras counts it among no layer's
  weights. Units that are left out from the start hold back the first epochs.
  """

  def __init__(self) -> None:
    self.variable = tf.Variable(1.0, trainable=False, name="least_keep_rate")

  def set_progress(self, progress: tf.Tensor) -> None:
    """Keeps all units in the first fifth, then ever fewer until half-way.

    Args:
      progress: float32[], how much of the training is done, in [0, 1].
    """
    share = tf.clip_by_value((progress - 0.2) / 0.3, 0.0, 1.0)
    self.variable.assign(1.0 - share * (1.0 - LEAST_UNIT_KEEP_RATE))


def unit_scales(
  seed: tf.Tensor,
  batch: tf.Tensor,
  units: int,
  least_keep_rate: float | tf.Tensor,
) -> tf.Tensor:
  """Draws which units each utterance keeps.

  Of an utterance, a random `k` of the units is kept, where k = ceil(r * units)
  and r is uniform in [least_keep_rate, 1.25], cut off at 1; kept units are
  scaled by units / k, as those of a Federated Dropout sub-model are.

  Args:
    seed: int32[2]; the same seed draws the same.
    batch: int32[], B.
    units: how many there are.
    least_keep_rate: least fraction of the units that is kept, in (0, 1].

  Returns:
    float32[B, units]: 0 for a dropped unit, units / k for a kept one.
  """
  rate_seed, order_seed = tf.unstack(
    tf.random.experimental.stateless_split(seed, 2)
  )
  rates = tf.random.stateless_uniform(
    [batch, 1], rate_seed, least_keep_rate, _HIGHEST_DRAW
  )
  kept = tf.math.ceil(tf.minimum(rates, 1.0) * units)
  draws = tf.random.stateless_uniform([batch, units], order_seed)
  ranks = tf.cast(tf.argsort(tf.argsort(draws)), tf.float32)
  return tf.where(ranks < kept, units / kept, 0.0)


class UnitDropout(tf.keras.layers.Layer):
  """Leaves out whole units of a hidden layer, a draw for each utterance.

  A model that was trained with it still works when it is cut down to a part of
  its units, which is what Federated Dropout does with it. Outside training it
  does nothing.

  Reference: Srivastava et al. 2014, "Dropout", sections 1 and 4, with a keep
  rate that is drawn too; for the cutting down, Fan et al. 2020, "Reducing
  Transformer Depth on Demand with Structured Dropout", section 3.

  Args:
    units: hidden units, heads or norm groups; they divide the channels, and
      each is a run of neighbouring ones.
    least_keep_rate: see `unit_scales`; one for good, or one that changes.
    seed: of the draws.
  """

  def __init__(
    self,
    units: int,
    least_keep_rate: float | RampedKeepRate,
    seed: int,
    **kwargs,
  ):
    super().__init__(**kwargs)
    self.units = units
    self.least_keep_rate = least_keep_rate
    self.seed = seed

  def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
    """float32[B, T, C] -> float32[B, T, C]."""
    if not training:
      return inputs
    seed = tf.random.uniform([2], maxval=2**30, dtype=tf.int32, seed=self.seed)
    return self.scaled(inputs, seed)

  def scaled(self, inputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Drops units by a seed, int32[2]."""
    rate = self.least_keep_rate
    if isinstance(rate, RampedKeepRate):
      rate = rate.variable
    scales = unit_scales(seed, tf.shape(inputs)[0], self.units, rate)
    per_channel = tf.repeat(scales, inputs.shape[-1] // self.units, axis=-1)
    return inputs * per_channel[:, tf.newaxis]

  def get_config(self) -> dict[str, Any]:
    return {
      **super().get_config(),
      "units": self.units,
      "least_keep_rate": self.least_keep_rate,
      "seed": self.seed,
    }

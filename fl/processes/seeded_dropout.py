"""Dropout whose noise depends on a seed that changes from step to step."""

import tensorflow as tf

from lingvo_lite.layers.unit_dropout import UnitDropout


class StepSeed:
  """Holds the seed of the current step, int32[2], for all layers of a model.

  A plain object around the variable, so that Keras counts it among no layer's
  weights.
  """

  def __init__(self) -> None:
    self.variable = tf.Variable([0, 0], trainable=False, name="step_seed")


class _SeededDropout(tf.keras.layers.Layer):
  """Keras's Dropout with stateless noise."""

  def __init__(self, rate: float, step_seed: StepSeed, salt: int, **kwargs):
    super().__init__(**kwargs)
    self._rate = rate
    self._step_seed = step_seed
    self._salt = salt

  def call(self, inputs, training=False):
    if not training:
      return inputs
    seed = tf.random.experimental.stateless_fold_in(
      self._step_seed.variable, self._salt
    )
    return tf.nn.experimental.stateless_dropout(inputs, self._rate, seed)


class _SeededUnitDropout(UnitDropout):
  """UnitDropout with stateless draws."""

  def __init__(self, layer: UnitDropout, step_seed: StepSeed, salt: int):
    super().__init__(**layer.get_config())
    self._step_seed = step_seed
    self._salt = salt

  def call(self, inputs, training=False):
    if not training:
      return inputs
    seed = tf.random.experimental.stateless_fold_in(
      self._step_seed.variable, self._salt
    )
    return self.scaled(inputs, seed)


def with_seeded_dropout(
  model: tf.keras.Model, step_seed: StepSeed
) -> tf.keras.Model:
  """Returns a copy of a model whose dropout depends on `step_seed` alone.

  Keras's own layers keep their noise's state in the TensorFlow session. Which
  client gets which session depends on timing, so that no run could be repeated
  or resumed exactly.

  Args:
    model: a functional model; its weights are not copied.
    step_seed: assigned before each step.
  """
  numbers = {layer.name: number for number, layer in enumerate(model.layers)}

  def clone(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
    if type(layer) is tf.keras.layers.Dropout:
      return _SeededDropout(
        layer.rate, step_seed, numbers[layer.name], name=layer.name
      )
    if type(layer) is UnitDropout:
      return _SeededUnitDropout(layer, step_seed, numbers[layer.name])
    return layer.__class__.from_config(layer.get_config())

  return tf.keras.models.clone_model(model, clone_function=clone)

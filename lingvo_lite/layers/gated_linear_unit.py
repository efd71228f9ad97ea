"""The gate of the convolution module."""

import tensorflow as tf


@tf.keras.utils.register_keras_serializable("lingvo_lite")
class GatedLinearUnit(tf.keras.layers.Layer):
  """First half of the channels times the sigmoid of the second half.

  Reference: Dauphin et al. 2017, "Language Modeling with Gated Convolutional
  Networks", eq. 1.
  """

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    """float32[B, T, 2C] -> float32[B, T, C]."""
    values, gates = tf.split(inputs, 2, axis=-1)
    return values * tf.sigmoid(gates)

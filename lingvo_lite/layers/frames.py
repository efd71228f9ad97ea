"""Layers that know which frames are speech.

Shape letters, here and in all layers: B batch, T frames, F mel bins, D model
width, C channels, N heads, H width of a head.
"""

from typing import Any

import tensorflow as tf

_REGISTER = tf.keras.utils.register_keras_serializable("lingvo_lite")


def frame_mask(lengths: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
  """Returns float32[B, T]: 1 where a frame is speech, 0 where it is padding."""
  return tf.cast(
    tf.range(frames)[tf.newaxis] < lengths[:, tf.newaxis], tf.float32
  )


@_REGISTER
class MaskFrames(tf.keras.layers.Layer):
  """Zeroes the frames past each utterance's length.

  A convolution reads its neighbours: without this, padding leaks into speech.
  """

  def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Masks `(values float32[B, T, ...], lengths int32[B])`."""
    values, lengths = inputs
    mask = frame_mask(lengths, tf.shape(values)[1])
    for _ in range(values.shape.rank - 2):
      mask = tf.expand_dims(mask, -1)
    return values * mask


@_REGISTER
class HalveLengths(tf.keras.layers.Layer):
  """int32[B] frames -> frames after one convolution of stride 2."""

  def call(self, lengths: tf.Tensor) -> tf.Tensor:
    return (lengths + 1) // 2


@_REGISTER
class JoinBins(tf.keras.layers.Layer):
  """float32[B, T, F, C] -> float32[B, T, F * C]."""

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    shape = tf.shape(inputs)
    width = inputs.shape[2] * inputs.shape[3]
    return tf.reshape(inputs, [shape[0], shape[1], width])


@_REGISTER
class AddChannel(tf.keras.layers.Layer):
  """float32[B, T, F] -> float32[B, T, F, 1]."""

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    # Not `inputs[..., tf.newaxis]`: TFLite has no such slice.
    return tf.expand_dims(inputs, -1)


@_REGISTER
class Scale(tf.keras.layers.Layer):
  """Multiplies by a constant.

  Behind a hidden layer of a Federated Dropout sub-model it makes up for the
  units left out (1 / keep rate).
  """

  def __init__(self, factor: float, **kwargs):
    super().__init__(**kwargs)
    self.factor = factor

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    return inputs * self.factor

  def get_config(self) -> dict[str, Any]:
    return {**super().get_config(), "factor": self.factor}


@_REGISTER
class Residual(tf.keras.layers.Layer):
  """residual + weight * branch."""

  def __init__(self, weight: float = 1.0, **kwargs):
    super().__init__(**kwargs)
    self.weight = weight

  def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    residual, branch = inputs
    return residual + (branch if self.weight == 1.0 else self.weight * branch)

  def get_config(self) -> dict[str, Any]:
    return {**super().get_config(), "weight": self.weight}

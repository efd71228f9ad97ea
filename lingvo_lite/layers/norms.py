"""The norms of the convolution module: over speech frames only.

Layer norms elsewhere in the block are Keras's own; these differ because they
average over frames, of which some are padding.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from lingvo_lite.layers.frames import frame_mask

_REGISTER = tf.keras.utils.register_keras_serializable("lingvo_lite")


@_REGISTER
class GroupNorm(tf.keras.layers.Layer):
  """Normalises groups of channels over the speech frames of an utterance.

  With `causal` each frame is normalised by itself, over the channels of a
  group: the statistics of a streaming model may not look ahead.

  Args:
    groups: how many groups the channels are split into.
    causal: whether statistics stay within a frame.
    epsilon: added to the variance.

  Reference: Wu and He 2018, "Group Normalization"; Zhou et al. 2022 put it in
  batch norm's place in the Conformer.
  """

  def __init__(self, groups: int, causal: bool = False, epsilon=1e-3, **kwargs):
    super().__init__(**kwargs)
    self.groups = groups
    self.causal = causal
    self.epsilon = epsilon

  def build(self, input_shapes: Sequence[tf.TensorShape]) -> None:
    channels = input_shapes[0][-1]
    if channels % self.groups:
      raise ValueError(
        f"found {channels} channels in {self.name}, expected a multiple of the"
        f" {self.groups} norm groups: change norm_groups"
      )
    self.gamma = self.add_weight("gamma", [channels], initializer="ones")
    self.beta = self.add_weight("beta", [channels], initializer="zeros")

  def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Normalises `(values float32[B, T, C], lengths int32[B])`."""
    values, lengths = inputs
    channels = values.shape[-1]
    shape = tf.shape(values)
    batch, frames = shape[0], shape[1]
    split = [batch, frames, self.groups, channels // self.groups]
    grouped = tf.reshape(values, split)
    if self.causal:
      mean = tf.reduce_mean(grouped, 3, keepdims=True)
      centred = grouped - mean
      variance = tf.reduce_mean(tf.square(centred), 3, keepdims=True)
    else:
      mask = frame_mask(lengths, frames)[:, :, tf.newaxis, tf.newaxis]
      speech_frames = tf.cast(tf.maximum(lengths, 1), tf.float32)
      share = mask / (
        speech_frames[:, tf.newaxis, tf.newaxis, tf.newaxis] * split[3]
      )
      mean = tf.reduce_sum(grouped * share, [1, 3], keepdims=True)
      centred = grouped - mean
      variance = tf.reduce_sum(
        tf.square(centred) * share, [1, 3], keepdims=True
      )
    normal = centred * tf.math.rsqrt(variance + self.epsilon)
    return tf.reshape(normal, shape) * self.gamma + self.beta

  def get_config(self) -> dict[str, Any]:
    return {
      **super().get_config(),
      "groups": self.groups,
      "causal": self.causal,
      "epsilon": self.epsilon,
    }


@_REGISTER
class BatchNorm(tf.keras.layers.Layer):
  """Normalises channels over the speech frames of a batch.

  For central training only: its moving averages have no federated form here.

  Args:
    momentum: of the moving averages.
    epsilon: added to the variance.

  Reference: Ioffe and Szegedy 2015, "Batch Normalization".
  """

  def __init__(self, momentum: float = 0.99, epsilon: float = 1e-3, **kwargs):
    super().__init__(**kwargs)
    self.momentum = momentum
    self.epsilon = epsilon

  def build(self, input_shapes: Sequence[tf.TensorShape]) -> None:
    channels = input_shapes[0][-1]
    self.gamma = self.add_weight("gamma", [channels], initializer="ones")
    self.beta = self.add_weight("beta", [channels], initializer="zeros")
    self.moving_mean = self.add_weight(
      "moving_mean", [channels], initializer="zeros", trainable=False
    )
    self.moving_variance = self.add_weight(
      "moving_variance", [channels], initializer="ones", trainable=False
    )

  def call(
    self, inputs: tuple[tf.Tensor, tf.Tensor], training: bool = False
  ) -> tf.Tensor:
    """Normalises `(values float32[B, T, C], lengths int32[B])`."""
    values, lengths = inputs
    if training:
      mask = frame_mask(lengths, tf.shape(values)[1])[..., tf.newaxis]
      share = mask / tf.reduce_sum(mask)
      mean = tf.reduce_sum(values * share, [0, 1])
      variance = tf.reduce_sum(tf.square(values - mean) * share, [0, 1])
      for moving, now in (
        (self.moving_mean, mean),
        (self.moving_variance, variance),
      ):
        moving.assign(self.momentum * moving + (1 - self.momentum) * now)
    else:
      mean, variance = self.moving_mean, self.moving_variance
    scale = self.gamma * tf.math.rsqrt(variance + self.epsilon)
    return (values - mean) * scale + self.beta

  def get_config(self) -> dict[str, Any]:
    return {
      **super().get_config(),
      "momentum": self.momentum,
      "epsilon": self.epsilon,
    }

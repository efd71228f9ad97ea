"""The grid that weights lie on: small integers times a scale per channel.

Symmetric: `w = scale * q` with integers q in [-Q, Q], Q = 2^(bits - 1) - 1, and
one scale for each output channel, `scale = clip * max |w| / Q`. Two bits are
-1, 0 and 1. Scales keep 8 significant bits (bfloat16): so `scale * q` is exact
in float32, the largest weight of a channel tells its scale, and half of a
scale's bytes are zeros that a compressed file does not pay for.
"""

import dataclasses

import numpy as np
import tensorflow as tf

# Fractions of max |w| that the clip search tries.
_CLIPS = np.linspace(1.0, 0.25, 16)
# Of clips whose error is within this factor of the least, the widest is taken:
# its integers are smaller, and so is the compressed file.
_SLACK = 1.1


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
  """A kernel as integers and scales.

  Attributes:
    bits: of an integer.
    integers: int8, in the shape of the Keras kernel.
    scales: float32, 1 along all axes but that of the output channels.
  """

  bits: int
  integers: np.ndarray
  scales: np.ndarray

  @property
  def values(self) -> np.ndarray:
    """The weights that the grid stands for, float32."""
    return self.integers.astype(np.float32) * self.scales


def largest_integer(bits: int) -> int:
  """Returns Q, the largest integer of the grid."""
  return 2 ** (bits - 1) - 1


def channel_axis(rank: int) -> int:
  """Returns the axis of the output channels of a Keras kernel.

  Args:
    rank: of the kernel; 3 is that of `DepthwiseConv1D`, [width, channels, 1].
  """
  return 1 if rank == 3 else rank - 1


def short_floats(values: tf.Tensor) -> tf.Tensor:
  """Rounds float32 to 8 significant bits, those of bfloat16."""
  return tf.cast(tf.cast(values, tf.bfloat16), tf.float32)


def largest_weights(kernel: tf.Tensor) -> tf.Tensor:
  """Returns max |w| of each output channel, 1 along all other axes."""
  return tf.reduce_max(tf.abs(kernel), _other_axes(kernel), keepdims=True)


def channel_scales(
  kernel: tf.Tensor, bits: int, clips: tf.Tensor | float = 1.0
) -> tf.Tensor:
  """Returns clip * max |w| / Q of each output channel; 1 for one of zeros.

  Args:
    kernel: float32, a Keras kernel.
    bits: of an integer.
    clips: fraction of max |w| that the largest integer stands for, in (0, 1].

  Returns:
    float32 of 8 significant bits, 1 along all axes but that of the output
    channels. The gradient reaches the clips, not the kernel.
  """
  largest = largest_weights(kernel)
  scales = tf.stop_gradient(largest / largest_integer(bits)) * clips
  scales += tf.stop_gradient(short_floats(scales) - scales)
  return tf.where(largest > 0, scales, tf.ones_like(scales))


def search_clips(kernel: np.ndarray, bits: int) -> np.ndarray:
  """Returns a clip for each channel that rounds with little square error.

  A channel's largest weight may be far from the others: with few integers it
  is cheaper to cut it than to widen all steps.

  Args:
    kernel: float32, a Keras kernel, masked already if it is to be.
    bits: of an integer.

  Returns:
    float32, 1 along all axes but that of the output channels.
  """
  axes = tuple(_other_axes(kernel))
  largest = np.abs(kernel).max(axes, keepdims=True)
  limit = largest_integer(bits)
  errors = []
  for clip in _CLIPS:
    scales = np.where(largest > 0, clip * largest / limit, 1.0)
    rounded = np.clip(np.rint(kernel / scales), -limit, limit) * scales
    errors.append(np.square(rounded - kernel).sum(axes, keepdims=True))
  good = np.stack(errors) <= _SLACK * np.min(errors, axis=0)
  return _CLIPS[np.argmax(good, axis=0)].astype(np.float32)


def fake_quantize(kernel: tf.Tensor, scales: tf.Tensor, bits: int) -> tf.Tensor:
  """Moves weights onto a grid; the gradient passes straight through.

  Weights beyond the largest integer are clipped and get no gradient. The
  scale's gradient is that of Esser et al. 2020, "Learned Step Size
  Quantization", eq. 3.

  Args:
    kernel: float32, a Keras kernel.
    scales: float32, broadcast to it.
    bits: of an integer.

  Returns:
    float32 of the kernel's shape.
  """
  limit = float(largest_integer(bits))
  steps = tf.clip_by_value(kernel / scales, -limit, limit)
  return (steps + tf.stop_gradient(tf.round(steps) - steps)) * scales


def find_grid(
  kernel: np.ndarray, bits: int, clips: np.ndarray | float = 1.0
) -> Grid:
  """Returns the grid of a kernel, on it already or not.

  Args:
    kernel: float32, a Keras kernel.
    bits: of an integer.
    clips: see `channel_scales`; left out for a kernel that is on its grid, as
      each channel's largest weight then is the largest integer.
  """
  scales = channel_scales(tf.constant(kernel), bits, clips).numpy()
  limit = largest_integer(bits)
  integers = np.clip(np.rint(kernel / scales), -limit, limit)
  return Grid(bits, integers.astype(np.int8), scales)


def _other_axes(kernel: tf.Tensor | np.ndarray) -> list[int]:
  """Returns all axes but that of the output channels."""
  rank = len(kernel.shape)
  return [axis for axis in range(rank) if axis != channel_axis(rank)]

"""The grid that weights lie on: small integers times a scale per channel.

Symmetric: `w = scale * q` with integers q in [-Q, Q], Q = 2^(bits - 1) - 1, and
one scale for each output channel. Two bits are -1, 0 and 1.
"""

import dataclasses

import numpy as np
import tensorflow as tf


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


def channel_scales(kernel: tf.Tensor, bits: int) -> tf.Tensor:
  """Returns max |w| / Q of each output channel; 1 for a channel of zeros.

  Args:
    kernel: float32, a Keras kernel.
    bits: of an integer.

  Returns:
    float32, 1 along all axes but that of the output channels.
  """
  rank = kernel.shape.rank
  axes = [axis for axis in range(rank) if axis != channel_axis(rank)]
  largest = tf.reduce_max(tf.abs(kernel), axes, keepdims=True)
  scales = largest / largest_integer(bits)
  return tf.where(scales > 0, scales, tf.ones_like(scales))


def fake_quantize(kernel: tf.Tensor, bits: int) -> tf.Tensor:
  """Moves weights onto the grid; the gradient passes straight through.

  Args:
    kernel: float32, a Keras kernel.
    bits: of an integer.

  Returns:
    float32 of the same shape. No weight is clipped, since the largest of each
    channel sets the scale.
  """
  scales = channel_scales(kernel, bits)
  on_grid = tf.round(kernel / scales) * scales
  return kernel + tf.stop_gradient(on_grid - kernel)


def find_grid(kernel: np.ndarray, bits: int) -> Grid:
  """Returns the grid of a kernel, on it already or not.

  Args:
    kernel: float32, a Keras kernel.
    bits: of an integer.
  """
  scales = channel_scales(tf.constant(kernel), bits).numpy()
  return Grid(bits, np.rint(kernel / scales).astype(np.int8), scales)

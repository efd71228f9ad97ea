"""Self-attention with relative positions.

The matrices around it (query, key, value, position, output) are `Dense` layers
of their own, so that pruning and quantisation see them.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from lingvo_lite.layers.frames import frame_mask

_REGISTER = tf.keras.utils.register_keras_serializable("lingvo_lite")
_NEVER = -1e9


@_REGISTER
class RelativePositions(tf.keras.layers.Layer):
  """Sinusoids of the distances T - 1, ..., 0, ..., -(T - 1).

  They are computed in the graph for the length at hand: a table would cost
  bytes in the .tflite file and bound the length.

  Args:
    width: D, even.

  Reference: Dai et al. 2019, "Transformer-XL", section 3.3.
  """

  def __init__(self, width: int, **kwargs):
    super().__init__(**kwargs)
    self.width = width

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    """Returns float32[1, 2T - 1, D] for `inputs` float32[B, T, ...]."""
    frames = tf.shape(inputs)[1]
    distances = tf.cast(tf.range(frames - 1, -frames, -1), tf.float32)
    steps = tf.range(0, self.width, 2, dtype=tf.float32) / self.width
    rates = tf.exp(-math.log(10000.0) * steps)
    angles = distances[:, tf.newaxis] * rates[tf.newaxis]
    return tf.concat([tf.sin(angles), tf.cos(angles)], -1)[tf.newaxis]

  def get_config(self) -> dict[str, Any]:
    return {**super().get_config(), "width": self.width}


@_REGISTER
class RelativeAttention(tf.keras.layers.Layer):
  """Attends from queries to keys by content and by distance.

  score(i, j) = ((q_i + u) . k_j + (q_i + v) . p_{i-j}) / sqrt(H)

  Args:
    num_heads: N.
    causal: whether a frame sees no frame after its chunk.
    left_context_frames: how many earlier frames a frame sees; None: all.
    chunk_frames: frames of a chunk, counted from the first frame; None: all.

  Reference: Dai et al. 2019, "Transformer-XL", section 3.3; as the Conformer
  uses it (Gulati et al. 2020, section 2.1).
  """

  def __init__(
    self,
    num_heads: int,
    causal: bool = False,
    left_context_frames: int | None = None,
    chunk_frames: int | None = 1,
    **kwargs,
  ):
    super().__init__(**kwargs)
    self.num_heads = num_heads
    self.causal = causal
    self.left_context_frames = left_context_frames
    self.chunk_frames = chunk_frames

  def full_context_twin(self) -> "RelativeAttention":
    """Returns a layer that sees all frames, with this one's own variables."""
    twin = RelativeAttention(self.num_heads, name=self.name)
    twin.content_bias = self.content_bias
    twin.position_bias = self.position_bias
    twin.built = True
    return twin

  def build(self, input_shapes: Sequence[tf.TensorShape]) -> None:
    shape = [self.num_heads, input_shapes[0][-1] // self.num_heads]
    self.content_bias = self.add_weight(
      "content_bias", shape, initializer="zeros"
    )
    self.position_bias = self.add_weight(
      "position_bias", shape, initializer="zeros"
    )

  def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the context, float32[B, T, N * H].

    Args:
      inputs: `(query, key, value, positions, lengths)`: three float32[B, T,
        N * H], float32[1, 2T - 1, N * H] and int32[B].
    """
    query, key, value, positions, lengths = inputs
    batch, frames = tf.shape(query)[0], tf.shape(query)[1]
    head_width = query.shape[-1] // self.num_heads

    def heads(projected, items, length):
      split = [items, length, self.num_heads, head_width]
      return tf.transpose(tf.reshape(projected, split), [0, 2, 1, 3])

    scale = 1.0 / math.sqrt(head_width)
    query = heads(query * scale, batch, frames)
    key = heads(key, batch, frames)
    value = heads(value, batch, frames)
    positions = tf.squeeze(heads(positions, 1, 2 * frames - 1), 0)

    content_query = query + tf.expand_dims(self.content_bias * scale, 1)
    position_query = query + tf.expand_dims(self.position_bias * scale, 1)
    scores = tf.matmul(content_query, key, transpose_b=True)
    scores += _by_distance(_match_positions(position_query, positions))
    scores += self._mask(lengths, frames)
    context = tf.matmul(tf.nn.softmax(scores), value)
    context = tf.transpose(context, [0, 2, 1, 3])
    return tf.reshape(context, [batch, frames, self.num_heads * head_width])

  def _mask(self, lengths: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
    """Returns 0 where attention is allowed, else a large negative number."""
    allowed = frame_mask(lengths, frames)[:, tf.newaxis, tf.newaxis]
    near = visible(
      frames, self.causal, self.left_context_frames, self.chunk_frames
    )
    if near is not None:
      allowed *= tf.cast(near, tf.float32)
    return (1.0 - allowed) * _NEVER

  def get_config(self) -> dict[str, Any]:
    return {
      **super().get_config(),
      "num_heads": self.num_heads,
      "causal": self.causal,
      "left_context_frames": self.left_context_frames,
      "chunk_frames": self.chunk_frames,
    }


def visible(
  frames: tf.Tensor,
  causal: bool,
  left_context_frames: int | None,
  chunk_frames: int | None,
) -> tf.Tensor | None:
  """Returns bool[T, T], True where row i sees column j; None: everywhere.

  Args:
    frames: int32[], T.
    causal: as in `RelativeAttention`.
    left_context_frames: as in `RelativeAttention`.
    chunk_frames: as in `RelativeAttention`.
  """
  limits = []
  index = tf.range(frames)
  row, column = tf.expand_dims(index, 1), tf.expand_dims(index, 0)
  if causal and chunk_frames is not None:
    limits.append(column < (row // chunk_frames + 1) * chunk_frames)
  if left_context_frames is not None:
    limits.append(row - column <= left_context_frames)
  return functools.reduce(tf.logical_and, limits) if limits else None


def _match_positions(query: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
  """float32[B, N, T, H] x [N, 2T - 1, H] -> [B, N, T, 2T - 1].

  The batch moves into the rows, so that each head is one matrix product.
  """
  shape = tf.shape(query)
  batch, heads, frames = shape[0], shape[1], shape[2]
  rows = tf.reshape(
    tf.transpose(query, [1, 0, 2, 3]), [heads, batch * frames, query.shape[-1]]
  )
  matched = tf.matmul(rows, positions, transpose_b=True)
  matched = tf.reshape(matched, [heads, batch, frames, 2 * frames - 1])
  return tf.transpose(matched, [1, 0, 2, 3])


def _by_distance(matched: tf.Tensor) -> tf.Tensor:
  """[B, N, T, 2T - 1] over distances T - 1 ... -(T - 1) -> [B, N, T, T].

  The relative shift of Transformer-XL (appendix B): row i of the result holds
  the distances i, i - 1, ..., i - T + 1, by padding and reshaping alone.

  `tf.slice`, since the gradient of `[...]` copies element by element.
  """
  shape = tf.shape(matched)
  batch, heads, frames = shape[0], shape[1], shape[2]
  padded = tf.pad(matched, [[0, 0], [0, 0], [0, 0], [1, 0]])
  padded = tf.reshape(padded, [batch, heads, 2 * frames, frames])
  shifted = tf.reshape(
    tf.slice(padded, [0, 0, 1, 0], [-1, -1, -1, -1]),
    [batch, heads, frames, 2 * frames - 1],
  )
  return tf.slice(shifted, [0, 0, 0, 0], [-1, -1, -1, frames])

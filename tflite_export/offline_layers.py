"""The layers of the Conformer as they run on a phone: one whole utterance.

With one utterance there is no batch and no padding: after the subsampling,
frames are rows of a matrix and no mask is needed. That is what makes the
.tflite file small and quick: a `Dense` becomes one fully connected operation
instead of a dozen around it. Each class stands in for one of `lingvo_lite`,
with the same weights in the same order. Shape letters as in
`lingvo_lite/layers/frames.py`; all sizes but T are static.
"""

import math

import tensorflow as tf

from lingvo_lite.layers.relative_attention import visible

_NEVER = -1e9


class WholeUtterance(tf.keras.layers.Layer):
  """For `MaskFrames` before a 2-D convolution: there is nothing to mask."""

  def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    return inputs[0]


class FramesToSequence(tf.keras.layers.Layer):
  """For `MaskFrames` before the depthwise convolution.

  Nothing is masked; the convolution wants float32[1, T, C].
  """

  def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    return tf.expand_dims(inputs[0], 0)


class BinsToRows(tf.keras.layers.Layer):
  """For `JoinBins`: float32[1, T, F, C] -> float32[T, F * C]."""

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    return tf.reshape(inputs, [-1, inputs.shape[2] * inputs.shape[3]])


class RowNorm(tf.keras.layers.Layer):
  """For `LayerNormalization`: float32[(1,) T, D] -> float32[T, D].

  Args:
    epsilon: added to the variance.
  """

  def __init__(self, epsilon: float, **kwargs):
    super().__init__(**kwargs)
    self.epsilon = epsilon

  def build(self, shape) -> None:
    self.gamma = self.add_weight("gamma", [shape[-1]])
    self.beta = self.add_weight("beta", [shape[-1]])

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    rows = tf.reshape(inputs, [-1, inputs.shape[-1]])
    centred = rows - tf.reduce_mean(rows, -1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), -1, keepdims=True)
    normal = centred * tf.math.rsqrt(variance + self.epsilon)
    return normal * self.gamma + self.beta


class UtteranceGroupNorm(tf.keras.layers.Layer):
  """For `GroupNorm`: float32[1, T, C] -> float32[T, C].

  Args:
    groups: how many groups the channels are split into.
    causal: whether statistics stay within a frame.
    epsilon: added to the variance.
  """

  def __init__(self, groups: int, causal: bool, epsilon: float, **kwargs):
    super().__init__(**kwargs)
    self.groups = groups
    self.causal = causal
    self.epsilon = epsilon

  def build(self, shapes) -> None:
    self.gamma = self.add_weight("gamma", [shapes[0][-1]])
    self.beta = self.add_weight("beta", [shapes[0][-1]])

  def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    channels = inputs[0].shape[-1]
    grouped = tf.reshape(inputs[0], [-1, self.groups, channels // self.groups])
    over = [2] if self.causal else [0, 2]
    centred = grouped - tf.reduce_mean(grouped, over, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), over, keepdims=True)
    normal = centred * tf.math.rsqrt(variance + self.epsilon)
    return tf.reshape(normal, [-1, channels]) * self.gamma + self.beta


class UtteranceBatchNorm(tf.keras.layers.Layer):
  """For `BatchNorm`: float32[1, T, C] -> float32[T, C].

  Args:
    epsilon: added to the variance.
  """

  def __init__(self, epsilon: float, **kwargs):
    super().__init__(**kwargs)
    self.epsilon = epsilon

  def build(self, shapes) -> None:
    channels = [shapes[0][-1]]
    self.gamma = self.add_weight("gamma", channels)
    self.beta = self.add_weight("beta", channels)
    self.moving_mean = self.add_weight("moving_mean", channels)
    self.moving_variance = self.add_weight("moving_variance", channels)

  def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    rows = tf.reshape(inputs[0], [-1, inputs[0].shape[-1]])
    scale = self.gamma * tf.math.rsqrt(self.moving_variance + self.epsilon)
    return (rows - self.moving_mean) * scale + self.beta


class PositionRows(tf.keras.layers.Layer):
  """For `RelativePositions`: float32[T, D] -> float32[2T - 1, D].

  Args:
    width: D, even.
  """

  def __init__(self, width: int, **kwargs):
    super().__init__(**kwargs)
    self.width = width

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    frames = tf.shape(inputs)[0]
    distances = tf.cast(tf.range(frames - 1, -frames, -1), tf.float32)
    steps = tf.range(0, self.width, 2, dtype=tf.float32) / self.width
    rates = tf.exp(-math.log(10000.0) * steps)
    angles = tf.expand_dims(distances, 1) * rates
    return tf.concat([tf.sin(angles), tf.cos(angles)], -1)


class UtteranceAttention(tf.keras.layers.Layer):
  """For `RelativeAttention`: rows in, the context float32[T, N * H] out.

  Args:
    num_heads: N.
    causal: whether a frame sees no frame after its chunk.
    left_context_frames: how many earlier frames a frame sees; None: all.
    chunk_frames: frames of a chunk; None: all.
  """

  def __init__(
    self,
    num_heads: int,
    causal: bool,
    left_context_frames: int | None,
    chunk_frames: int | None,
    **kwargs,
  ):
    super().__init__(**kwargs)
    self.num_heads = num_heads
    self.causal = causal
    self.left_context_frames = left_context_frames
    self.chunk_frames = chunk_frames

  def build(self, shapes) -> None:
    shape = [self.num_heads, shapes[0][-1] // self.num_heads]
    self.content_bias = self.add_weight("content_bias", shape)
    self.position_bias = self.add_weight("position_bias", shape)

  def call(self, inputs) -> tf.Tensor:
    """Attends.

    Args:
      inputs: `(query, key, value, positions, lengths)`: three float32[T, N * H]
        and float32[2T - 1, N * H]; the lengths are not looked at.
    """
    width = inputs[0].shape[-1]
    head_width = width // self.num_heads
    query, key, value, positions = (
      tf.reshape(rows, [-1, self.num_heads, head_width]) for rows in inputs[:4]
    )
    # The converter folds a factor behind a matrix into it, and likes to fold
    # the biases too, which would double the query's matrix: the factor stands
    # on the other side, and the biases come after the transposition.
    scale = 1.0 / math.sqrt(head_width)
    key = tf.transpose(key * scale, [1, 2, 0])
    positions = tf.transpose(positions * scale, [1, 2, 0])
    query = tf.transpose(query, [1, 0, 2])
    scores = tf.matmul(query + tf.expand_dims(self.content_bias, 1), key)
    by_position = tf.matmul(
      query + tf.expand_dims(self.position_bias, 1), positions
    )
    frames = tf.shape(inputs[0])[0]
    scores += self._by_distance(by_position, frames)
    seen = visible(
      frames, self.causal, self.left_context_frames, self.chunk_frames
    )
    if seen is not None:
      scores += (1.0 - tf.cast(seen, tf.float32)) * _NEVER
    context = tf.matmul(tf.nn.softmax(scores), tf.transpose(value, [1, 0, 2]))
    return tf.reshape(tf.transpose(context, [1, 0, 2]), [-1, width])

  def _by_distance(self, matched: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
    """float32[N, T, 2T - 1] -> float32[N, T, T], the relative shift.

    A column in front and a reshape move each row one to the right of the row
    above; the first row of zeros falls away. Reference: Dai et al. 2019,
    "Transformer-XL", appendix B.
    """
    padded = tf.pad(matched, [[0, 0], [0, 0], [1, 0]])
    padded = tf.reshape(padded, [self.num_heads, -1, frames])[:, 1:]
    shifted = tf.reshape(padded, [self.num_heads, frames, -1])
    return shifted[:, :, :frames]

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
# Distances whose sines follow from those of the first of them.
_RUN = 16


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


def sinusoids(first: tf.Tensor, rows: tf.Tensor | int, width: int) -> tf.Tensor:
  """Returns the sinusoids of the distances first, first - 1, and so on.

  Of the distances d the sines and cosines of d r, for each rate r. Sines cost
  more than anything else here, so those of every sixteenth distance and of 0 to
  -15 are taken, and the others follow from their products.

  Args:
    first: float32[], the first distance, more than 0.
    rows: how many.
    width: D, even.

  Returns:
    float32[rows, D].
  """
  steps = tf.range(0, width, 2, dtype=tf.float32) / width
  rates = tf.exp(-math.log(10000.0) * steps)
  runs = tf.cast(tf.range(0, rows, _RUN), tf.float32)
  starts = tf.reshape(first - runs, [-1, 1, 1]) * rates
  # Zero, but the converter cannot know: it would put the sines into the file.
  zero = tf.minimum(first, 0.0)
  steps_on = tf.expand_dims(zero + tf.range(0.0, -_RUN, -1.0), 1) * rates
  sin_start, cos_start = tf.sin(starts), tf.cos(starts)
  sin_on, cos_on = tf.sin(steps_on), tf.cos(steps_on)
  sines = sin_start * cos_on + cos_start * sin_on
  cosines = cos_start * cos_on - sin_start * sin_on
  every = tf.reshape(tf.concat([sines, cosines], -1), [-1, width])
  return tf.slice(every, [0, 0], [rows, width])


class PositionRows(tf.keras.layers.Layer):
  """For `RelativePositions`: float32[T, D] -> float32[2T, D].

  Distances T, ..., -(T - 1). The first is one more than is needed: what
  `by_distance` cuts off anyway need not be put there by an operation of its
  own.

  Args:
    width: D, even.
  """

  def __init__(self, width: int, **kwargs):
    super().__init__(**kwargs)
    self.width = width

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    frames = tf.shape(inputs)[0]
    return sinusoids(tf.cast(frames, tf.float32), 2 * frames, self.width)


def by_distance(
  matched: tf.Tensor, rows: tf.Tensor | int, columns: tf.Tensor | int
) -> tf.Tensor:
  """float32[N, C, L + 2C] -> float32[N, C, L + C], the relative shift.

  The columns of `matched` are the distances L + C, ..., -(C - 1). A reshape
  moves each row one to the right of the row above; the first column falls away.
  `tf.slice`, since `[...]` becomes an operation that TFLite runs element by
  element. Reference: Dai et al. 2019, "Transformer-XL", appendix B.

  Args:
    matched: the products.
    rows: C.
    columns: L + C.
  """
  heads = matched.shape[0]
  longer = tf.reshape(matched, [heads, -1, rows])
  shifted = tf.slice(longer, [0, 1, 0], [-1, -1, -1])
  shifted = tf.reshape(shifted, [heads, rows, -1])
  return tf.slice(shifted, [0, 0, 0], [-1, -1, columns])


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
        and float32[2T, N * H]; the lengths are not looked at.
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
    scores += by_distance(by_position, frames, frames)
    seen = visible(
      frames, self.causal, self.left_context_frames, self.chunk_frames
    )
    if seen is not None:
      scores += (1.0 - tf.cast(seen, tf.float32)) * _NEVER
    context = tf.matmul(tf.nn.softmax(scores), tf.transpose(value, [1, 0, 2]))
    return tf.reshape(tf.transpose(context, [1, 0, 2]), [-1, width])

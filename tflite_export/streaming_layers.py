"""The layers of the Conformer as they run on sound that comes chunk by chunk.

They stand in for those of `lingvo_lite` that look at other frames; all others
are the offline ones. What a layer must remember lies in one flat vector, the
stream's state, that the caller keeps between chunks. Shapes are static: C
frames (40 ms) a chunk, L frames of left context.
"""

import math

import tensorflow as tf

from tflite_export.offline_layers import by_distance, sinusoids

_NEVER = -1e9


class StreamState:
  """Where each layer's part of the state lies, and its values in a call.

  Layers get their part once, when they are built, and exchange what it held
  for what the next chunk needs, in every call.
  """

  def __init__(self) -> None:
    self._sizes: list[int] = []
    self._before: list[tf.Tensor] | None = None
    self._after: dict[int, tf.Tensor] = {}

  @property
  def size(self) -> int:
    """How many float32 the state has."""
    return sum(self._sizes)

  def reserve(self, size: int) -> int:
    """Returns the index of a new part of `size` numbers."""
    self._sizes.append(size)
    return len(self._sizes) - 1

  def begin(self, state: tf.Tensor) -> None:
    """Starts a call with the state float32[1, `size`] that came in."""
    self._before = tf.split(state, self._sizes, axis=1)
    self._after = {}

  def read(self, part: int) -> tf.Tensor:
    """Returns a part, float32[1, its size]."""
    if self._before is None:  # Keras tries a layer before any state is there.
      return tf.zeros([1, self._sizes[part]])
    return self._before[part]

  def write(self, part: int, value: tf.Tensor) -> None:
    """Sets a part for the next chunk; `value` has as many numbers."""
    self._after[part] = tf.reshape(value, [1, self._sizes[part]])

  def end(self) -> tf.Tensor:
    """Returns the state that goes out, float32[1, `size`]."""
    return tf.concat([self._after[i] for i in range(len(self._sizes))], axis=1)


class StreamClock:
  """How far the stream is; all layers share one.

  Attributes:
    chunk_frames: C.
    frames_before: float32[1, 1], frames of earlier chunks.
    frames_here: int32[1], frames of this chunk that are sound, 0 to C.
  """

  def __init__(self, chunk_frames: int) -> None:
    self.chunk_frames = chunk_frames
    self.frames_before = tf.zeros([1, 1])
    self.frames_here = tf.constant([chunk_frames])


class MaskBeforeStart(tf.keras.layers.Layer):
  """For `MaskFrames` before a strided convolution.

  The first chunk begins with frames of no sound: those before the stream.

  Args:
    clock: of the stream.
    frames: how many they are.
  """

  def __init__(self, clock: StreamClock, frames: int, **kwargs):
    super().__init__(**kwargs)
    self._clock = clock
    self.frames = frames

  def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    values = inputs[0]
    early = tf.reshape(
      tf.cast(tf.range(values.shape[1]) < self.frames, tf.float32),
      [1, -1, 1, 1],
    )
    first = 1.0 - tf.minimum(self._clock.frames_before, 1.0)
    return values * (1.0 - early * tf.reshape(first, [1, 1, 1, 1]))


class CarryFrames(tf.keras.layers.Layer):
  """For the zero padding before a causal convolution.

  In front of a chunk stand the last frames of the chunk before.

  Args:
    state: of the stream.
    frames: how many: kernel size less stride.
    around_bins: zeros on each side of the mel axis; None: there is no such.
  """

  def __init__(
    self, state: StreamState, frames: int, around_bins: int | None, **kwargs
  ):
    super().__init__(**kwargs)
    self._state = state
    self.frames = frames
    self.around_bins = around_bins

  def build(self, shape: tf.TensorShape) -> None:
    self._frame_shape = list(shape[2:])
    self._part = self._state.reserve(self.frames * math.prod(shape[2:]))

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    carried = tf.reshape(
      self._state.read(self._part), [1, self.frames, *self._frame_shape]
    )
    values = tf.concat([carried, inputs], axis=1)
    self._state.write(self._part, values[:, -self.frames :])
    if self.around_bins is None:
      return values
    around = [self.around_bins] * 2
    return tf.pad(values, [[0, 0], [0, 0], around, [0, 0]])


class StreamPositionRows(tf.keras.layers.Layer):
  """For `RelativePositions`: float32[L + 2C, D].

  Distances L + C, ..., -(C - 1); the first is one more than is needed, see
  `PositionRows`.

  Args:
    clock: of the stream.
    width: D, even.
    left_context_frames: L.
  """

  def __init__(
    self, clock: StreamClock, width: int, left_context_frames: int, **kwargs
  ):
    super().__init__(**kwargs)
    self._clock = clock
    self.width = width
    self.left_context_frames = left_context_frames

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    chunk = self._clock.chunk_frames
    # Zero, but the converter cannot know: it would put the rows times the
    # position matrices into the file, in float32, 60 kB a block of `tiny`.
    zero = tf.minimum(self._clock.frames_before[0], 0.0)
    return sinusoids(
      zero + float(self.left_context_frames + chunk),
      self.left_context_frames + 2 * chunk,
      self.width,
    )


class StreamAttention(tf.keras.layers.Layer):
  """For `RelativeAttention`: rows of a chunk in, float32[C, N * H] out.

  Args:
    state: of the stream.
    clock: of the stream.
    num_heads: N.
    left_context_frames: L.
  """

  def __init__(
    self,
    state: StreamState,
    clock: StreamClock,
    num_heads: int,
    left_context_frames: int,
    **kwargs,
  ):
    super().__init__(**kwargs)
    self._state = state
    self._clock = clock
    self.num_heads = num_heads
    self.left_context_frames = left_context_frames

  def build(self, shapes) -> None:
    width = shapes[0][-1]
    shape = [self.num_heads, width // self.num_heads]
    self.content_bias = self.add_weight("content_bias", shape)
    self.position_bias = self.add_weight("position_bias", shape)
    size = self.left_context_frames * width
    self._parts = [self._state.reserve(size), self._state.reserve(size)]

  def call(self, inputs) -> tf.Tensor:
    """Attends.

    Args:
      inputs: `(query, key, value, positions, lengths)`: three float32[C, N * H]
        and float32[L + 2C, N * H]; the lengths are not looked at.
    """
    query, key, value, positions, _ = inputs
    width = query.shape[-1]
    head_width = width // self.num_heads
    keys = self._with_context(self._parts[0], key)
    values = self._with_context(self._parts[1], value)

    def heads(rows, order):
      split = [-1, self.num_heads, head_width]
      return tf.transpose(tf.reshape(rows, split), order)

    # As in `UtteranceAttention`, so that both compute the same.
    scale = 1.0 / math.sqrt(head_width)
    query = heads(query, [1, 0, 2])
    scores = tf.matmul(
      query + tf.expand_dims(self.content_bias, 1),
      heads(keys * scale, [1, 2, 0]),
    )
    by_position = tf.matmul(
      query + tf.expand_dims(self.position_bias, 1),
      heads(positions * scale, [1, 2, 0]),
    )
    rows = self._clock.chunk_frames
    scores += by_distance(by_position, rows, self.left_context_frames + rows)
    scores += self._mask()
    context = tf.matmul(tf.nn.softmax(scores), heads(values, [1, 0, 2]))
    return tf.reshape(tf.transpose(context, [1, 0, 2]), [-1, width])

  def _with_context(self, part: int, rows: tf.Tensor) -> tf.Tensor:
    """float32[C, W] -> float32[L + C, W], and keeps the last L of them."""
    if not self.left_context_frames:
      self._state.write(part, self._state.read(part))
      return rows
    before = tf.reshape(
      self._state.read(part), [self.left_context_frames, rows.shape[-1]]
    )
    both = tf.concat([before, rows], 0)
    self._state.write(part, both[-self.left_context_frames :])
    return both

  def _mask(self) -> tf.Tensor:
    """float32[C, L + C]: 0 where attention is allowed, else very low."""
    clock, left = self._clock, self.left_context_frames
    column = tf.range(left + clock.chunk_frames)[tf.newaxis]
    row = tf.range(clock.chunk_frames)[:, tf.newaxis]
    near = tf.cast(column >= row, tf.float32)
    # Column k is frame `frames_before - L + k`: none before 0, and none that
    # the last, incomplete chunk does not have.
    place = tf.cast(column, tf.float32) - float(left)
    exists = tf.cast(place >= -clock.frames_before, tf.float32) * tf.cast(
      place < tf.cast(clock.frames_here, tf.float32), tf.float32
    )
    return (1.0 - near * exists) * _NEVER

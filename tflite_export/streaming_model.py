"""The trained model for sound that comes chunk by chunk."""

import tensorflow as tf

from lingvo_lite.audio.log_mel import LogMelConfig
from lingvo_lite.layers.frames import MaskFrames
from lingvo_lite.layers.relative_attention import (
  RelativeAttention,
  RelativePositions,
)
from lingvo_lite.models.conformer_config import ConformerConfig
from tflite_export.matrix_log_mel import MatrixLogMel
from tflite_export.offline_model import offline_layer
from tflite_export.streaming_layers import (
  CarryFrames,
  MaskBeforeStart,
  StreamAttention,
  StreamClock,
  StreamPositionRows,
  StreamState,
)

_SUBSAMPLING = 4
# A frame that the first convolution of a chunk needs looks back this far.
_FEATURES_BACK = _SUBSAMPLING - 1


def build_streamer(model: tf.keras.Model, config: ConformerConfig) -> tf.Module:
  """Returns sound to labels, a chunk at a time, as one graph.

  Its `stream` takes

  - `pcm` float32[1, 640 C]: 16 kHz, in [-1, 1], C = `config.chunk_frames`;
  - `samples` int32[1]: how many of them are sound; fewer than all, with zeros
    behind, only in the last chunk of an utterance;
  - `state` float32[1, N]: zeros at first, then what came out;

  and returns

  - `labels` int32[C] and `count` int32[1]: the first `count` are the ids of
    the characters that began in this chunk;
  - `frames` int32[C]: when they began, in frames of 40 ms from the start;
  - `logits` float32[1, C, V]: only those of frames with sound mean something;
  - `state`.

  A chunk's logits are those of the whole utterance: chunk by chunk, the model
  computes what `transcribe` computes at once.

  Args:
    model: what `build_ctc_model(config)` returned.
    config: its configuration; it streams.
  """
  frames, left_context = config.chunk_frames, config.left_context_frames
  if frames is None or left_context is None:
    raise ValueError("found a model that does not stream, expected one")
  log_mel = MatrixLogMel()
  mel = LogMelConfig()
  frame_samples = _SUBSAMPLING * mel.hop_samples
  chunk_samples = frames * frame_samples
  carried_samples = _FEATURES_BACK * mel.hop_samples
  blank_id = config.vocabulary_size - 1
  state_of_layers, clock = StreamState(), StreamClock(frames)
  count_part = state_of_layers.reserve(1)
  label_part = state_of_layers.reserve(1)
  pcm_part = state_of_layers.reserve(carried_samples)
  encoder = _build_encoder(model, left_context, state_of_layers, clock)

  @tf.function(
    input_signature=[
      tf.TensorSpec([1, chunk_samples], tf.float32, name="pcm"),
      tf.TensorSpec([1], tf.int32, name="samples"),
      tf.TensorSpec([1, state_of_layers.size], tf.float32, name="state"),
    ]
  )
  def stream(
    pcm: tf.Tensor, samples: tf.Tensor, state: tf.Tensor
  ) -> dict[str, tf.Tensor]:
    carry = state_of_layers
    carry.begin(state)
    before = carry.read(count_part)
    clock.frames_before = before
    clock.frames_here = (samples + frame_samples - 1) // frame_samples
    sound = tf.concat([carry.read(pcm_part), pcm], 1)
    carry.write(pcm_part, sound[:, -carried_samples:])
    features = log_mel(sound)[:, : frames * _SUBSAMPLING]
    logits = encoder([features, tf.constant([0])])
    best = tf.argmax(logits, -1, output_type=tf.int32)
    # The state holds the label plus one: at first, zero, there is none.
    last = tf.cast(carry.read(label_part)[0], tf.int32) - 1
    starts = tf.not_equal(best, tf.concat([last, best[:-1]], 0))
    starts &= tf.not_equal(best, blank_id)
    starts &= tf.range(frames) < clock.frames_here
    carry.write(label_part, tf.cast(best[-1:] + 1, tf.float32))
    carry.write(count_part, before + float(frames))
    # Slot i takes the i-th start: TFLite has no compaction of a fixed shape.
    found = tf.cast(starts, tf.int32)
    order = (tf.cumsum(found) - 1) * found + (found - 1)
    picked = tf.cast(
      tf.equal(tf.range(frames)[:, tf.newaxis], order[tf.newaxis]), tf.int32
    )
    times = tf.cast(before[0], tf.int32) + tf.range(frames)
    return {
      "labels": tf.reduce_sum(picked * best, 1),
      "frames": tf.reduce_sum(picked * times, 1),
      "count": tf.reduce_sum(found, keepdims=True),
      "logits": tf.expand_dims(logits, 0),
      "state": carry.end(),
    }

  module = tf.Module()
  module.encoder_variables = encoder.variables
  module.stream = stream
  return module


def _build_encoder(
  model: tf.keras.Model,
  left_context_frames: int,
  state: StreamState,
  clock: StreamClock,
) -> tf.keras.Model:
  """Rebuilds a model for one chunk, with the same weights.

  Returns:
    A model from `[features float32[1, 4C, F], lengths int32[1]]` (not looked
    at) to logits float32[C, V].
  """
  features, lengths = model.inputs
  masks = {
    "subsampling/conv_0/mask": _FEATURES_BACK,
    "subsampling/conv_1/mask": _FEATURES_BACK // 2,
  }

  def layer_for(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
    name = layer.name
    if isinstance(layer, MaskFrames) and name in masks:
      return MaskBeforeStart(clock, masks[name], name=name)
    if isinstance(layer, tf.keras.layers.ZeroPadding2D):
      # Kernel 3, stride 2.
      return CarryFrames(state, 1, layer.padding[1][0], name=name)
    if isinstance(layer, tf.keras.layers.ZeroPadding1D):
      return CarryFrames(state, layer.padding[0], None, name=name)
    if isinstance(layer, RelativePositions):
      return StreamPositionRows(
        clock, layer.width, left_context_frames, name=name
      )
    if isinstance(layer, RelativeAttention):
      return StreamAttention(
        state, clock, layer.num_heads, left_context_frames, name=name
      )
    return offline_layer(layer)

  streaming = tf.keras.models.clone_model(
    model,
    input_tensors=[
      tf.keras.Input(
        [clock.chunk_frames * _SUBSAMPLING, features.shape[2]],
        batch_size=1,
        name="features",
      ),
      tf.keras.Input([], batch_size=1, dtype=lengths.dtype, name="lengths"),
    ],
    clone_function=layer_for,
  )
  streaming.set_weights(model.get_weights())
  return streaming

"""The trained model in the form that a phone runs: sound in, labels out."""

import tensorflow as tf

from lingvo_lite.audio.log_mel import LogMel
from lingvo_lite.layers.frames import JoinBins, MaskFrames
from lingvo_lite.layers.norms import BatchNorm, GroupNorm
from lingvo_lite.layers.relative_attention import (
  RelativeAttention,
  RelativePositions,
)
from tflite_export.offline_layers import (
  BinsToRows,
  FramesToSequence,
  PositionRows,
  RowNorm,
  UtteranceAttention,
  UtteranceBatchNorm,
  UtteranceGroupNorm,
  WholeUtterance,
)

SIGNATURE = "transcribe"


def build_offline_model(model: tf.keras.Model) -> tf.keras.Model:
  """Rebuilds a model for one whole utterance, with the same weights.

  Args:
    model: what `build_ctc_model` returned.

  Returns:
    A model from `[features float32[1, T, F], lengths int32[1]]` (not looked
    at) to logits float32[T', V].
  """
  features, lengths = model.inputs
  offline = tf.keras.models.clone_model(
    model,
    input_tensors=[
      tf.keras.Input(features.shape[1:], batch_size=1, name="features"),
      tf.keras.Input([], batch_size=1, dtype=lengths.dtype, name="lengths"),
    ],
    clone_function=offline_layer,
  )
  offline.set_weights(model.get_weights())
  return offline


def build_transcriber(model: tf.keras.Model) -> tf.Module:
  """Returns sound to labels as one graph, without operations TFLite lacks.

  Its `transcribe` takes `pcm` float32[1, S] (16 kHz, in [-1, 1], S >= 1) and
  returns `labels` int32[N], the ids of the recognised characters, `count`
  int32[], which is N, and `logits` float32[1, T', V].

  Args:
    model: what `build_ctc_model` returned.
  """
  log_mel = LogMel()
  encoder = build_offline_model(model)
  blank_id = model.output_shape[-1] - 1

  @tf.function(
    input_signature=[tf.TensorSpec([1, None], tf.float32, name="pcm")]
  )
  def transcribe(pcm: tf.Tensor) -> dict[str, tf.Tensor]:
    logits = encoder([log_mel(pcm), tf.constant([0])])
    best = tf.argmax(logits, -1, output_type=tf.int32)
    # Greedy CTC: the first of each run, without blanks. A blank in front never
    # equals a label that counts.
    before = tf.concat([[blank_id], best[:-1]], 0)
    starts = tf.logical_and(
      tf.not_equal(best, before), tf.not_equal(best, blank_id)
    )
    labels = tf.gather(best, tf.reshape(tf.where(starts), [-1]))
    return {
      "labels": labels,
      "count": tf.size(labels),
      "logits": tf.expand_dims(logits, 0),
    }

  module = tf.Module()
  # The variables alone: a tracked Keras model would be traced layer by layer
  # when the module is saved, which takes longer than all the rest.
  module.encoder_variables = encoder.variables
  module.transcribe = transcribe
  return module


def offline_layer(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
  """Returns the layer that stands in for `layer` on a whole utterance."""
  name = layer.name
  if isinstance(layer, MaskFrames):
    # After the subsampling, frames are rows.
    rows = layer.input_shape[0][2:] and len(layer.input_shape[0]) == 3
    if rows and not name.startswith("subsampling/"):
      return FramesToSequence(name=name)
    return WholeUtterance(name=name)
  if isinstance(layer, JoinBins):
    return BinsToRows(name=name)
  if isinstance(layer, tf.keras.layers.LayerNormalization):
    return RowNorm(layer.epsilon, name=name)
  if isinstance(layer, GroupNorm):
    return UtteranceGroupNorm(
      layer.groups, layer.causal, layer.epsilon, name=name
    )
  if isinstance(layer, BatchNorm):
    return UtteranceBatchNorm(layer.epsilon, name=name)
  if isinstance(layer, RelativePositions):
    return PositionRows(layer.width, name=name)
  if isinstance(layer, RelativeAttention):
    return UtteranceAttention(
      layer.num_heads,
      layer.causal,
      layer.left_context_frames,
      layer.chunk_frames,
      name=name,
    )
  return layer.__class__.from_config(layer.get_config())

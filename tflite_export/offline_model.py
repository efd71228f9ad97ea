"""The trained model in the form that a phone runs: sound in, labels out."""

import tensorflow as tf

from lingvo_lite.layers.frames import (
  AddChannel,
  HalveLengths,
  JoinBins,
  MaskFrames,
  Residual,
  Scale,
)
from lingvo_lite.layers.gated_linear_unit import GatedLinearUnit
from lingvo_lite.layers.norms import BatchNorm, GroupNorm
from lingvo_lite.layers.relative_attention import (
  RelativeAttention,
  RelativePositions,
)
from lingvo_lite.stage.errors import InputError
from tflite_export.matrix_log_mel import MatrixLogMel
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
# What `offline_layer` knows: layers that others stand in for, and layers that
# are the same on a whole utterance.
_KNOWN = (
  JoinBins,
  MaskFrames,
  tf.keras.layers.LayerNormalization,
  GroupNorm,
  BatchNorm,
  RelativePositions,
  RelativeAttention,
  tf.keras.layers.InputLayer,
  tf.keras.layers.Activation,
  tf.keras.layers.Conv2D,
  tf.keras.layers.Dense,
  tf.keras.layers.DepthwiseConv1D,
  tf.keras.layers.Dropout,
  tf.keras.layers.ReLU,
  tf.keras.layers.ZeroPadding1D,
  tf.keras.layers.ZeroPadding2D,
  AddChannel,
  GatedLinearUnit,
  HalveLengths,
  Residual,
  Scale,
)
_KNOWN_ACTIVATIONS = ("linear", "relu", "swish")


def check_layers(model: tf.keras.Model) -> None:
  """Raises InputError if a layer is of a kind that no file can hold.

  Told before a model is compressed: the converter would find out hours later,
  or compute something else in silence.

  Args:
    model: the trained model.
  """
  for layer in model.layers:
    if type(layer) not in _KNOWN:
      raise InputError(
        f"found the layer {layer.name} of the kind {type(layer).__name__},"
        " expected one that export knows, which are those of"
        " build_ctc_model: use one of them, or teach it to"
        " tflite_export/offline_model.py"
      )
    activation = layer.get_config().get("activation", "linear")
    if activation not in _KNOWN_ACTIVATIONS:
      raise InputError(
        f"found the activation {activation!r} of the layer {layer.name},"
        f" expected one of {', '.join(_KNOWN_ACTIVATIONS)}, which export knows:"
        " use one of them"
      )


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
  log_mel = MatrixLogMel()
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
  """Returns the layer that stands in for `layer` on a whole utterance.

  Args:
    layer: of a model that `check_layers` passed.
  """
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

"""One set of weights for streaming and for the whole utterance at once."""

import tensorflow as tf

from lingvo_lite.layers.relative_attention import RelativeAttention


def full_context_twin(model: tf.keras.Model) -> tf.keras.Model:
  """Returns a model that attends to whole utterances with the same variables.

  Convolutions and norms stay as they are: a causal model's twin computes what
  its configuration with no `left_context_frames` and no `chunk_frames` would.
  Trained on both, one model serves both.

  Args:
    model: what `build_ctc_model` returned.

  Reference: Yu et al. 2021, "Dual-mode ASR", which shares weights as here;
  Zhang et al. 2020, "Unified Streaming and Non-streaming Two-pass End-to-end
  Model", which as here keeps convolutions causal in both modes.
  """

  def twin(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
    if isinstance(layer, RelativeAttention):
      return layer.full_context_twin()
    return layer

  return tf.keras.models.clone_model(model, clone_function=twin)

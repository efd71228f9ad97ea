"""How far one model's label distributions are from another's, softened.

Reference: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network".
"""

import tensorflow as tf

from lingvo_lite.layers.frames import frame_mask
from lingvo_lite.models.ctc_model import subsampled_lengths

# Divides the logits. CTC's distributions are nearly all blank or all one label;
# softened, they also tell what else it might have been, and that carries over
# to voices that the fine-tuning does not hear.
_TEMPERATURE = 4.0


def softened_divergence(
  target_logits: tf.Tensor, logits: tf.Tensor, lengths: tf.Tensor
) -> tf.Tensor:
  """Returns the KL divergence a frame at the temperature, in nats.

  Args:
    target_logits: float32[B, T', V] to come near to.
    logits: float32[B, T', V].
    lengths: int32[B], frames of features.
  """
  target = tf.nn.log_softmax(target_logits / _TEMPERATURE)
  found = tf.nn.log_softmax(logits / _TEMPERATURE)
  divergence = tf.reduce_sum(tf.exp(target) * (target - found), -1)
  mask = frame_mask(subsampled_lengths(lengths), tf.shape(found)[1])
  return tf.reduce_sum(divergence * mask) / tf.reduce_sum(mask)

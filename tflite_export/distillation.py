"""The loss that draws a compressed model towards the float model.

The student learns the teacher's label distribution on each frame instead of the
transcripts: so it keeps what the teacher knows and the speech at hand does not
show, such as the commands that only the clients ever heard.

Reference: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network".
"""

from collections.abc import Callable, Mapping

import tensorflow as tf

from lingvo_lite.layers.frames import frame_mask
from lingvo_lite.models.ctc_model import subsampled_lengths

# Divides the logits. CTC's distributions are nearly all blank or all one label;
# softened, they also tell what else it might have been, and that carries over
# to voices that the fine-tuning does not hear.
_TEMPERATURE = 4.0


def distillation_loss(
  student: tf.keras.Model, teacher: tf.keras.Model
) -> Callable[[Mapping[str, tf.Tensor]], tf.Tensor]:
  """Returns the loss of a batch: KL divergence a frame, in nats.

  Dropout stays off: it would only blur what is to be matched.

  Args:
    student: the wrapped model.
    teacher: the float model.

  Returns:
    From a batch with `features` and `lengths` to float32[], the divergence of
    the softened distributions, teacher from student.
  """

  def loss(batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
    inputs = [batch["features"], batch["lengths"]]
    return softened_divergence(
      tf.stop_gradient(teacher(inputs)), student(inputs), batch["lengths"]
    )

  return loss


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

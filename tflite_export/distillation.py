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
    target = tf.stop_gradient(_soft_labels(teacher, inputs))
    found = _soft_labels(student, inputs)
    divergence = tf.reduce_sum(tf.exp(target) * (target - found), -1)
    mask = frame_mask(subsampled_lengths(batch["lengths"]), tf.shape(found)[1])
    return tf.reduce_sum(divergence * mask) / tf.reduce_sum(mask)

  return loss


def _soft_labels(model: tf.keras.Model, inputs: list[tf.Tensor]) -> tf.Tensor:
  """Returns log-probabilities at the temperature, float32[B, T', V]."""
  return tf.nn.log_softmax(model(inputs) / _TEMPERATURE)

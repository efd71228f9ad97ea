"""The loss that draws a compressed model towards the float model.

The student learns the teacher's label distribution on each frame instead of the
transcripts: so it keeps what the teacher knows and the speech at hand does not
show, such as the commands that only the clients ever heard.

Reference: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network".
"""

from collections.abc import Callable, Mapping

import tensorflow as tf

from lingvo_lite.training.softened_divergence import softened_divergence


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

"""The loss that draws a compressed model towards the float model.

The student learns the teacher's label distribution on each frame instead of the
transcripts: so it keeps what the teacher knows and the speech at hand does not
show, such as the commands that only the clients ever heard. A fraction of the
transcripts tells it besides where the teacher is wrong.

Reference: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network".
"""

import functools
from collections.abc import Callable, Mapping

import tensorflow as tf

from lingvo_lite.training.ctc_objective import ctc_objective, ctc_of_logits
from lingvo_lite.training.softened_divergence import softened_divergence

Batch = Mapping[str, tf.Tensor]


def fine_tuning_loss(
  student: tf.keras.Model, teacher: tf.keras.Model, transcript_fraction: float
) -> Callable[[Batch], tf.Tensor]:
  """Returns the loss of a batch: answers and transcripts, weighed.

  Args:
    student: the wrapped model.
    teacher: the float model.
    transcript_fraction: 0: `distillation_loss`; 1: `ctc_objective`, with
      dropout; between: both of one pass without dropout, in nats a frame and in
      nats a label.
  """
  if transcript_fraction == 0:
    return distillation_loss(student, teacher)
  if transcript_fraction == 1:
    return functools.partial(ctc_objective, student)

  def loss(batch: Batch) -> tf.Tensor:
    inputs = [batch["features"], batch["lengths"]]
    logits = student(inputs)
    divergence = softened_divergence(
      tf.stop_gradient(teacher(inputs)), logits, batch["lengths"]
    )
    return (
      1 - transcript_fraction
    ) * divergence + transcript_fraction * ctc_of_logits(logits, batch)

  return loss


def distillation_loss(
  student: tf.keras.Model, teacher: tf.keras.Model
) -> Callable[[Batch], tf.Tensor]:
  """Returns the loss of a batch: KL divergence a frame, in nats.

  Dropout stays off: it would only blur what is to be matched.

  Args:
    student: the wrapped model.
    teacher: the float model.

  Returns:
    From a batch with `features` and `lengths` to float32[], the divergence of
    the softened distributions, teacher from student.
  """

  def loss(batch: Batch) -> tf.Tensor:
    inputs = [batch["features"], batch["lengths"]]
    return softened_divergence(
      tf.stop_gradient(teacher(inputs)), student(inputs), batch["lengths"]
    )

  return loss

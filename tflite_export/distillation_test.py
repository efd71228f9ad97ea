"""What compressed models learn from: answers, transcripts, or both."""

import numpy as np
import tensorflow as tf

from lingvo_lite.training.ctc_objective import ctc_objective, ctc_of_logits
from lingvo_lite.training.softened_divergence import softened_divergence
from tflite_export.distillation import distillation_loss, fine_tuning_loss

_LABELS = 5


def _batch():
  features = np.random.default_rng(0).normal(size=[2, 40, 8])
  return {
    "features": tf.constant(features, tf.float32),
    "lengths": tf.constant([40, 28]),
    "labels": tf.constant([[1, 2, 2], [3, 0, 0]]),
    "label_lengths": tf.constant([3, 1]),
  }


def _model(seed, dropout=0.5):
  """A model of the interface alone: a matrix on every fourth frame."""
  features = tf.keras.Input([None, 8])
  lengths = tf.keras.Input([], dtype=tf.int32)
  frames = tf.keras.layers.Dropout(dropout)(features)
  frames = tf.keras.layers.AveragePooling1D(4)(frames)
  initializer = tf.keras.initializers.RandomNormal(seed=seed)
  logits = tf.keras.layers.Dense(_LABELS, kernel_initializer=initializer)
  return tf.keras.Model([features, lengths], logits(frames))


class DistillationTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.student, self.teacher = _model(1), _model(2)
    self.batch = _batch()

  def loss(self, fraction):
    return fine_tuning_loss(self.student, self.teacher, fraction)(self.batch)

  def test_answers_alone(self):
    expected = distillation_loss(self.student, self.teacher)(self.batch)
    self.assertGreater(expected, 0)
    self.assertAllEqual(self.loss(0.0), expected)
    equal = fine_tuning_loss(self.teacher, self.teacher, 0.0)
    self.assertAllClose(equal(self.batch), 0.0)

  def test_transcripts_alone_do_not_ask_the_teacher(self):
    student = _model(1, dropout=0.0)
    loss = fine_tuning_loss(student, None, 1.0)
    self.assertAllClose(loss(self.batch), ctc_objective(student, self.batch))

  def test_both_are_weighed(self):
    inputs = [self.batch["features"], self.batch["lengths"]]
    logits = self.student(inputs)
    divergence = softened_divergence(
      self.teacher(inputs), logits, self.batch["lengths"]
    )
    transcripts = ctc_of_logits(logits, self.batch)
    self.assertAllClose(self.loss(0.25), 0.75 * divergence + 0.25 * transcripts)

  def test_the_teacher_stays_as_it_is(self):
    with tf.GradientTape() as tape:
      loss = self.loss(0.25)
    variables = self.student.trainable_variables
    gradients = tape.gradient(
      loss, [*variables, *self.teacher.trainable_variables]
    )
    found = [gradient is not None for gradient in gradients]
    self.assertEqual(found, [True] * 2 + [False] * 2)


if __name__ == "__main__":
  tf.test.main()

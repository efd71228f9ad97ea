"""When masks are chosen, which, and how much they change."""

import numpy as np
import tensorflow as tf

from lingvo_lite.stage.errors import InputError
from tflite_export.pruning.mask_schedule import (
  MaskSchedule,
  MaskUpdate,
  keep_largest,
)
from tflite_export.pruning.n_of_m import prune


class MaskScheduleTest(tf.test.TestCase):
  def steps(self, schedule):
    return [step for step in range(100) if schedule.is_due(step)]

  def test_steps_by_hand(self):
    self.assertEqual(self.steps(MaskSchedule(1)), [0])
    self.assertEqual(self.steps(MaskSchedule(4, 10)), [0, 10, 20, 30])
    self.assertEqual(self.steps(MaskSchedule(5)), [0, 1, 2, 3, 4])
    for bad in ((0, 1), (1, 0)):
      with self.assertRaisesRegex(InputError, "expected 1 or more"):
        MaskSchedule(*bad)

  def test_the_largest_of_each_run_are_kept(self):
    kernel = tf.constant([[1.0, 5], [-3, 5], [2, -5], [0, 1]])
    self.assertAllEqual(
      keep_largest(kernel, (2, 4)), [[0, 1], [1, 1], [1, 0], [0, 0]]
    )
    self.assertAllEqual(
      keep_largest(kernel, (1, 2)), [[0, 1], [1, 0], [1, 1], [0, 0]]
    )

  def test_any_pattern_keeps_what_tf_mot_keeps(self):
    features = tf.keras.Input([None, 32])
    lengths = tf.keras.Input([], dtype=tf.int32)
    layer = tf.keras.layers.Dense(6, name="matrix")
    model = tf.keras.Model([features, lengths], layer(features))
    for kept_of in ((2, 4), (1, 4), (4, 8), (5, 16)):
      pruned = prune(model, kept_of).get_layer("matrix").kernel
      self.assertAllEqual(
        keep_largest(layer.kernel, kept_of),
        tf.cast(pruned != 0, tf.float32),
        msg=str(kept_of),
      )

  def test_churn_is_the_fraction_of_the_kept_that_is_new(self):
    kernel = tf.Variable(np.array([[4.0], [3], [2], [1], [4], [3], [2], [1]]))
    kernel = tf.Variable(tf.cast(kernel, tf.float32))
    mask = tf.Variable(keep_largest(kernel, (2, 4)))
    update = MaskUpdate([kernel], [mask], (2, 4))
    self.assertEqual(update(), 0.0)
    kernel.assign(tf.tensor_scatter_nd_update(kernel, [[3, 0]], [9.0]))
    self.assertEqual(update(), 0.25)
    self.assertAllEqual(mask[:, 0], [1, 0, 0, 1, 1, 1, 0, 0])


if __name__ == "__main__":
  tf.test.main()

"""The layers of the exported model against those of training."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from lingvo_lite.layers.relative_attention import RelativePositions
from tflite_export.offline_layers import PositionRows, by_distance, sinusoids


class OfflineLayersTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters((1.0, 1), (3.0, 6), (16.0, 32), (700.0, 1400))
  def test_sinusoids_are_those_of_each_distance(self, first, rows):
    width = 8
    distances = first - np.arange(rows)
    rates = np.exp(-math.log(10000.0) * np.arange(0, width, 2) / width)
    angles = distances[:, np.newaxis] * rates
    self.assertAllClose(
      sinusoids(tf.constant(first), rows, width),
      np.concatenate([np.sin(angles), np.cos(angles)], -1),
      # The distance times the rate is rounded in training as well.
      atol=max(1e-6, first * 2e-7),
    )

  @parameterized.parameters(1, 2, 17, 75)
  def test_positions_are_those_of_training_and_one_before(self, frames):
    rows = PositionRows(width=12)(tf.zeros([frames, 3]))
    wanted = RelativePositions(width=12)(tf.zeros([1, frames, 3]))[0]
    self.assertAllClose(rows[1:], wanted, atol=1e-4)

  def test_by_distance_by_hand(self):
    # One head, 2 rows, 1 frame of left context. Columns: distances 3 to -1.
    matched = tf.constant([[[0.0, 2, 1, 0, -1], [0, 12, 11, 10, 9]]])
    # Row 0 sees distances 1, 0, -1, row 1 sees 2, 1, 0.
    self.assertAllEqual(
      by_distance(matched, rows=2, columns=3), [[[1, 0, -1], [12, 11, 10]]]
    )


if __name__ == "__main__":
  tf.test.main()

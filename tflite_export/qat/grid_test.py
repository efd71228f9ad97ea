"""The grid, against cases worked out by hand."""

import numpy as np
import tensorflow as tf

from tflite_export.qat.grid import (
  channel_scales,
  fake_quantize,
  find_grid,
  largest_integer,
)


class GridTest(tf.test.TestCase):
  def test_largest_integers(self):
    self.assertEqual([largest_integer(b) for b in (2, 4, 8)], [1, 7, 127])

  def test_a_matrix_by_hand(self):
    # Columns are output channels: 14 / 7 = 2, 0.7 / 7 = 0.1, and all zeros.
    kernel = np.array([[14, 0.0, 0], [-3, 0.34, 0], [1.1, -0.7, 0]], np.float32)
    grid = find_grid(kernel, 4)
    self.assertAllClose(grid.scales, [[2, 0.1, 1]])
    self.assertAllEqual(grid.integers, [[7, 0, 0], [-2, 3, 0], [1, -7, 0]])
    self.assertAllClose(grid.values, [[14, 0, 0], [-4, 0.3, 0], [2, -0.7, 0]])

  def test_two_bits_are_ternary(self):
    kernel = np.array([[4.0], [-4.0], [1.9], [-2.1], [0.0]], np.float32)
    grid = find_grid(kernel, 2)
    self.assertAllEqual(grid.integers[:, 0], [1, -1, 0, -1, 0])

  def test_channels_of_convolutions(self):
    rng = np.random.default_rng(0)
    depthwise = rng.normal(size=[15, 8, 1]).astype(np.float32)
    self.assertEqual(find_grid(depthwise, 8).scales.shape, (1, 8, 1))
    self.assertAllEqual(
      np.abs(find_grid(depthwise, 8).integers).max((0, 2)), [127] * 8
    )
    conv = rng.normal(size=[3, 3, 2, 5]).astype(np.float32)
    self.assertEqual(find_grid(conv, 8).scales.shape, (1, 1, 1, 5))

  def test_a_grid_is_found_again(self):
    rng = np.random.default_rng(1)
    for bits in range(2, 9):
      kernel = rng.normal(size=[64, 32]).astype(np.float32)
      grid = find_grid(kernel, bits)
      again = find_grid(grid.values, bits)
      self.assertAllEqual(again.integers, grid.integers)
      self.assertAllClose(again.scales, grid.scales, rtol=1e-6)
      # No weight moved by more than half a step.
      steps = np.abs(grid.values - kernel) / grid.scales
      self.assertLessEqual(steps.max(), 0.5 + 1e-4)

  def test_the_gradient_passes_straight_through(self):
    kernel = tf.Variable([[1.0, -0.4], [0.3, 0.9]])
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(fake_quantize(kernel, 4) * [[1.0, 2.0], [3.0, 4.0]])
    self.assertAllClose(tape.gradient(loss, kernel), [[1, 2], [3, 4]])

  def test_fake_quantization_is_the_grid(self):
    kernel = np.random.default_rng(2).normal(size=[16, 4]).astype(np.float32)
    self.assertAllClose(
      fake_quantize(tf.constant(kernel), 4), find_grid(kernel, 4).values
    )
    self.assertAllEqual(channel_scales(tf.zeros([3, 2]), 4), [[1, 1]])


if __name__ == "__main__":
  tf.test.main()

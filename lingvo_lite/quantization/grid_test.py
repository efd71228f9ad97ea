"""The grid, against cases worked out by hand."""

import numpy as np
import tensorflow as tf

from lingvo_lite.quantization.grid import (
  channel_scales,
  fake_quantize,
  find_grid,
  largest_integer,
  search_clips,
  short_floats,
)


class GridTest(tf.test.TestCase):
  def test_largest_integers(self):
    self.assertEqual([largest_integer(b) for b in (2, 4, 8)], [1, 7, 127])

  def test_a_matrix_by_hand(self):
    # Columns are output channels: 14 / 7 = 2, 1.75 / 7 = 0.25, and all zeros.
    kernel = np.array([[14, 0.0, 0], [-3, 0.8, 0], [1.1, -1.75, 0]], np.float32)
    grid = find_grid(kernel, 4)
    self.assertAllClose(grid.scales, [[2, 0.25, 1]])
    self.assertAllEqual(grid.integers, [[7, 0, 0], [-2, 3, 0], [1, -7, 0]])
    self.assertAllClose(grid.values, [[14, 0, 0], [-4, 0.75, 0], [2, -1.75, 0]])

  def test_two_bits_are_ternary(self):
    kernel = np.array([[4.0], [-4.0], [1.9], [-2.1], [0.0]], np.float32)
    grid = find_grid(kernel, 2)
    self.assertAllEqual(grid.integers[:, 0], [1, -1, 0, -1, 0])

  def test_clipping_by_hand(self):
    # The clip makes 2 the largest weight: 4 is cut, 1.1 becomes 2.
    kernel = np.array([[4.0], [-2.0], [1.1], [0.9]], np.float32)
    grid = find_grid(kernel, 2, 0.5)
    self.assertAllEqual(grid.values[:, 0], [2, -2, 2, 0])
    # The search finds the best of its candidates, channel by channel.
    rest = np.array([1, -1, 0.9, -0.9] * 8, np.float32)
    kernel = np.stack([rest, rest], 1)
    kernel[0, 0] = 2
    clips = search_clips(kernel, 2)
    self.assertAllClose(clips, [[0.5, 0.95]])
    # 0.95 and 1 are equally far from these: the wider one is taken.
    equal = np.array([[1], [-1], [0.95], [-0.95]], np.float32)
    self.assertAllClose(search_clips(equal, 2), [[1.0]])

  def test_the_search_never_rounds_worse(self):
    rng = np.random.default_rng(3)
    kernel = rng.normal(size=[128, 16]).astype(np.float32)
    for bits in range(2, 9):
      clips = search_clips(kernel, bits)
      plain = np.square(find_grid(kernel, bits).values - kernel).sum(0)
      cut = np.square(find_grid(kernel, bits, clips).values - kernel).sum(0)
      self.assertTrue((cut <= plain + 1e-6).all(), bits)
      if bits < 5:
        self.assertLess(cut.sum(), 0.9 * plain.sum(), bits)

  def test_scales_are_short_and_products_exact(self):
    rng = np.random.default_rng(4)
    kernel = rng.normal(size=[64, 32]).astype(np.float32)
    for bits in (2, 4, 8):
      grid = find_grid(kernel, bits, 0.7)
      self.assertAllEqual(short_floats(grid.scales), grid.scales)
      exact = grid.integers.astype(np.float64) * grid.scales
      self.assertAllEqual(grid.values, exact)

  def test_channels_of_convolutions(self):
    rng = np.random.default_rng(0)
    depthwise = rng.normal(size=[15, 8, 1]).astype(np.float32)
    self.assertEqual(find_grid(depthwise, 8).scales.shape, (1, 8, 1))
    self.assertAllEqual(
      np.abs(find_grid(depthwise, 8).integers).max((0, 2)), [127] * 8
    )
    conv = rng.normal(size=[3, 3, 2, 5]).astype(np.float32)
    self.assertEqual(find_grid(conv, 8).scales.shape, (1, 1, 1, 5))

  def test_a_grid_is_found_again_to_the_bit(self):
    rng = np.random.default_rng(1)
    for bits in range(2, 9):
      for clip in (1.0, 0.6, 0.1):
        kernel = rng.normal(size=[64, 32]).astype(np.float32)
        grid = find_grid(kernel, bits, clip)
        again = find_grid(grid.values, bits)
        self.assertAllEqual(again.integers, grid.integers)
        self.assertAllEqual(again.scales, grid.scales)

  def test_the_gradient_passes_where_nothing_is_clipped(self):
    kernel = tf.Variable([[1.0, -0.4], [0.3, 0.9], [2.0, 0.1]])
    scales = tf.Variable([[0.25, 0.125]])
    upstream = tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(fake_quantize(kernel, scales, 4) * upstream)
    by_kernel, by_scale = tape.gradient(loss, [kernel, scales])
    # 2 / 0.25 = 8 and 0.9 / 0.125 = 7.2 are beyond 7.
    self.assertAllClose(by_kernel, [[1, 2], [3, 0], [0, 6]])
    # round(w / s) - w / s inside, 7 where clipped.
    self.assertAllClose(
      by_scale,
      [[1 * 0 + 3 * (1 - 1.2) + 5 * 7, 2 * (-3 + 3.2) + 4 * 7 + 6 * 0.2]],
      rtol=1e-4,
    )

  def test_the_clip_is_trained_but_not_by_the_largest_weight(self):
    kernel = tf.Variable([[1.0], [0.5]])
    clip = tf.Variable([[0.5]])
    with tf.GradientTape() as tape:
      scales = channel_scales(kernel, 4, clip)
      loss = tf.reduce_sum(scales)
    by_kernel, by_clip = tape.gradient(loss, [kernel, clip])
    self.assertIsNone(by_kernel)
    self.assertAllClose(by_clip, [[1 / 7]])

  def test_fake_quantization_is_the_grid(self):
    kernel = np.random.default_rng(2).normal(size=[16, 4]).astype(np.float32)
    scales = channel_scales(tf.constant(kernel), 4, 0.8)
    self.assertAllEqual(
      fake_quantize(tf.constant(kernel), scales, 4),
      find_grid(kernel, 4, 0.8).values,
    )
    self.assertAllEqual(channel_scales(tf.zeros([3, 2]), 4), [[1, 1]])


if __name__ == "__main__":
  tf.test.main()

"""The refit, against NumPy and cases that can be seen through."""

import numpy as np
import tensorflow as tf

from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from tflite_export.pruning.least_squares import input_moments, refit, solve
from tflite_export.pruning.n_of_m import prunable_layers, prune

_CONFIG = ConformerConfig(
  num_blocks=1,
  d_model=8,
  ffn_units=16,
  num_heads=2,
  conv_kernel_size=3,
  subsampling_channels=2,
  norm_groups=2,
)


def _moments(rows):
  rows = np.hstack([rows, np.ones([len(rows), 1])])
  return rows.T @ rows


class LeastSquaresTest(tf.test.TestCase):
  def test_a_twin_input_takes_over(self):
    # Inputs 0 and 1 are always equal: dropping one is no loss at all.
    rng = np.random.default_rng(0)
    rows = rng.normal(size=[500, 3])
    rows[:, 1] = rows[:, 0]
    kernel = np.array([[1.0, 0.5], [2.0, -1.0], [3.0, 4.0]], np.float32)
    mask = np.array([[False, True], [True, False], [True, True]])
    bias = np.array([0.3, -0.2], np.float32)
    found, found_bias = solve(kernel, bias, mask, _moments(rows))
    self.assertAllClose(found, [[0, -0.5], [3, 0], [3, 4]], atol=0.05)
    self.assertAllClose(found_bias, bias, atol=0.05)

  def test_the_mean_of_a_dropped_input_goes_to_the_bias(self):
    rng = np.random.default_rng(1)
    rows = rng.normal([5.0, 0.0], [1e-3, 1.0], [1000, 2])
    kernel = np.array([[2.0], [1.0]], np.float32)
    mask = np.array([[False], [True]])
    found, bias = solve(kernel, np.zeros(1, np.float32), mask, _moments(rows))
    self.assertAllClose(found, [[0], [1]], atol=0.05)
    self.assertAllClose(bias, [10], atol=0.05)

  def test_agrees_with_numpy_and_keeps_all_when_nothing_is_dropped(self):
    rng = np.random.default_rng(2)
    rows = rng.normal(size=[200, 6]) @ rng.normal(size=[6, 6])
    kernel = rng.normal(size=[6, 4]).astype(np.float32)
    same, none = solve(kernel, None, np.ones([6, 4], bool), _moments(rows))
    self.assertIsNone(none)
    self.assertAllClose(same, kernel, atol=1e-5)
    mask = rng.random([6, 4]) < 0.5  # Unequal numbers kept.
    found, _ = solve(kernel, None, mask, _moments(rows))
    self.assertAllEqual(found[~mask], np.zeros((~mask).sum()))
    damping = np.sqrt(0.01 * np.mean(rows**2) * len(rows))
    for column in range(4):
      kept = np.flatnonzero(mask[:, column])
      left = np.vstack([rows, damping * np.eye(6)])
      expected = np.linalg.lstsq(
        left[:, kept], left @ kernel[:, column], rcond=None
      )[0]
      self.assertAllClose(found[kept, column], expected, atol=1e-4)

  def test_moments_leave_padding_out(self):
    model = build_ctc_model(_CONFIG)
    features = tf.random.stateless_normal([2, 40, 80], [1, 2])
    names = ["block_00/ffn_start/expand", "block_00/attention/position"]
    lengths = tf.constant([40, 24])
    found = input_moments(
      model, names, [{"features": features, "lengths": lengths}]
    )
    longer = tf.pad(features, [[0, 0], [0, 16], [0, 0]], constant_values=9.0)
    again = input_moments(
      model, names[:1], [{"features": longer, "lengths": lengths}]
    )
    self.assertAllClose(found[names[0]], again[names[0]], rtol=1e-3, atol=1e-3)
    # 10 and 6 frames of speech; 19 distances.
    self.assertAllClose(found[names[0]][-1, -1], 16)
    self.assertAllClose(found[names[1]][-1, -1], 19)

  def test_refitting_keeps_the_mask_and_comes_nearer(self):
    model = build_ctc_model(_CONFIG)
    names = prunable_layers(model, (2, 4))
    pruned = prune(model, (2, 4))
    masks = {name: pruned.get_layer(name).kernel.numpy() != 0 for name in names}
    features = tf.random.stateless_normal([4, 80, 80], [3, 4])
    inputs = [features, tf.fill([4], 80)]

    def error():
      return float(tf.reduce_mean(tf.square(pruned(inputs) - model(inputs))))

    before = error()
    refit(
      pruned, model, names, [{"features": inputs[0], "lengths": inputs[1]}] * 2
    )
    self.assertLess(error(), before)
    for name, mask in masks.items():
      kernel = pruned.get_layer(name).kernel.numpy()
      self.assertAllEqual(kernel[~mask], np.zeros((~mask).sum()))


if __name__ == "__main__":
  tf.test.main()

"""Tests of the layers that handle frames."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from lingvo_lite.layers.frames import (
  HalveLengths,
  JoinBins,
  MaskFrames,
  Residual,
  Scale,
)
from lingvo_lite.layers.gated_linear_unit import GatedLinearUnit


class FramesTest(absltest.TestCase):
  def test_mask_zeroes_what_is_past_the_length(self):
    for shape in ([2, 3, 4], [2, 3, 4, 5]):
      masked = MaskFrames()([tf.ones(shape), tf.constant([1, 3])]).numpy()
      self.assertEqual(masked[0, 0].min(), 1)
      self.assertEqual(abs(masked[0, 1:]).max(), 0)
      self.assertEqual(masked[1].min(), 1)

  def test_halving_rounds_up(self):
    halves = HalveLengths()(tf.constant([0, 1, 2, 3, 100, 101])).numpy()
    np.testing.assert_array_equal(halves, [0, 1, 1, 2, 50, 51])

  def test_join_bins_keeps_the_order(self):
    values = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    np.testing.assert_array_equal(
      JoinBins()(values).numpy(), values.reshape(1, 2, 12)
    )

  def test_residual_and_scale(self):
    self.assertEqual(float(Residual(0.5)([1.0, 4.0])), 3.0)
    self.assertEqual(float(Scale(4.0)(tf.constant(2.0))), 8.0)

  def test_gate(self):
    out = GatedLinearUnit()(tf.constant([[[2.0, 3.0, 0.0, 100.0]]])).numpy()
    np.testing.assert_allclose(out, [[[1.0, 3.0]]])


if __name__ == "__main__":
  absltest.main()

"""Tests of the dropout of whole units."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from lingvo_lite.layers.unit_dropout import (
  RampedKeepRate,
  UnitDropout,
  unit_scales,
)


class UnitDropoutTest(parameterized.TestCase):
  @parameterized.parameters((4, 0.5), (8, 0.25), (512, 0.25), (3, 1.0))
  def test_keeps_what_it_may_and_scales_by_what_is_left(self, units, least):
    scales = unit_scales(tf.constant([1, 2]), 200, units, least).numpy()
    kept = (scales > 0).sum(axis=1)
    self.assertGreaterEqual(kept.min(), least * units)
    for row, count in zip(scales, kept, strict=True):
      np.testing.assert_allclose(row[row > 0], units / count, rtol=1e-6)
    # r is above 1 in 0.25 of the 1.25 - least that it is drawn from; the
    # topmost draws below 1 are rounded up to all units too.
    whole = (kept == units).mean()
    above = 0.25 / (1.25 - least)
    rounded = 1.0 / units / (1.25 - least)
    self.assertBetween(whole, 0.6 * above, 1.4 * (above + rounded))

  def test_every_unit_is_dropped_equally_often(self):
    scales = unit_scales(tf.constant([3, 4]), 4000, 8, 0.25).numpy()
    shares = (scales == 0).mean(axis=0)
    np.testing.assert_allclose(shares, shares.mean(), atol=0.04)
    # What a unit adds up to is the same with and without dropout.
    np.testing.assert_allclose(scales.mean(), 1.0, atol=1e-5)

  def test_a_unit_is_a_run_of_channels_for_all_frames(self):
    layer = UnitDropout(units=4, least_keep_rate=0.25, seed=7)
    out = layer(tf.ones([16, 5, 12]), training=True).numpy()
    np.testing.assert_array_equal(out, np.repeat(out[:, :1], 5, axis=1))
    runs = out[:, 0].reshape(16, 4, 3)
    np.testing.assert_array_equal(runs, np.repeat(runs[:, :, :1], 3, axis=2))
    self.assertGreater(len({row.tobytes() for row in out[:, 0]}), 1)

  def test_the_ramp_by_hand(self):
    ramp = RampedKeepRate()
    layer = UnitDropout(units=100, least_keep_rate=ramp, seed=7)
    for progress, least in ((0.0, 1.0), (0.2, 1.0), (0.35, 0.625), (0.9, 0.25)):
      ramp.set_progress(tf.constant(progress))
      np.testing.assert_allclose(ramp.variable, least, rtol=1e-6)
      out = layer(tf.ones([64, 1, 100]), training=True).numpy()
      fewest = (out > 0).sum(axis=-1).min()
      self.assertBetween(fewest, 100 * least, min(100, 100 * least + 20))
    self.assertEmpty(layer.weights)

  def test_does_nothing_outside_training(self):
    layer = UnitDropout(units=4, least_keep_rate=0.25, seed=7)
    values = tf.random.normal([2, 5, 12], seed=0)
    np.testing.assert_array_equal(layer(values), values)


if __name__ == "__main__":
  absltest.main()

"""Tests of the convolution module's norms."""

import numpy as np
from absl.testing import absltest

from lingvo_lite.layers.norms import BatchNorm, GroupNorm


def _values(shape=(2, 6, 8)):
  return np.random.default_rng(0).normal(2, 3, shape).astype(np.float32)


class NormsTest(absltest.TestCase):
  def test_group_norm_by_hand(self):
    values, lengths = _values(), np.array([6, 4], np.int32)
    out = GroupNorm(groups=2)([values, lengths]).numpy()
    for b, length in enumerate(lengths):
      for channels in (slice(0, 4), slice(4, 8)):
        speech = values[b, :length, channels]
        expected = (speech - speech.mean()) / np.sqrt(speech.var() + 1e-3)
        np.testing.assert_allclose(
          out[b, :length, channels], expected, atol=1e-5
        )

  def test_padding_changes_nothing(self):
    values = _values()
    lengths = np.array([3, 3], np.int32)
    layer = GroupNorm(groups=4)
    short = layer([values[:, :3], lengths]).numpy()
    long = layer([values, lengths]).numpy()[:, :3]
    np.testing.assert_allclose(short, long, atol=1e-5)

  def test_causal_group_norm_sees_one_frame(self):
    values, lengths = _values(), np.array([6, 6], np.int32)
    layer = GroupNorm(groups=2, causal=True)
    whole = layer([values, lengths]).numpy()
    one = layer([values[:, 2:3], np.array([1, 1], np.int32)]).numpy()
    np.testing.assert_allclose(whole[:, 2:3], one, atol=1e-6)

  def test_groups_that_do_not_divide_are_refused(self):
    with self.assertRaisesRegex(ValueError, "8 channels.*3 norm groups"):
      GroupNorm(groups=3)([_values(), np.array([6, 6], np.int32)])

  def test_batch_norm_uses_speech_in_training_and_averages_after(self):
    values, lengths = _values(), np.array([6, 2], np.int32)
    layer = BatchNorm(momentum=0.0)
    trained = layer([values, lengths], training=True).numpy()
    speech = np.concatenate([values[0], values[1, :2]])
    expected = (speech - speech.mean(0)) / np.sqrt(speech.var(0) + 1e-3)
    np.testing.assert_allclose(trained[0], expected[:6], atol=1e-4)
    # With momentum 0 the averages are the last batch's.
    np.testing.assert_allclose(
      layer([values, lengths]).numpy()[0], trained[0], atol=1e-4
    )


if __name__ == "__main__":
  absltest.main()

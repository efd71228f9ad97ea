"""Tests for spec_augment."""

import dataclasses
import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from lingvo_lite.audio.log_mel import LogMel, LogMelConfig
from lingvo_lite.audio.spec_augment import (
  SpecAugmentConfig,
  draw_speeds,
  lead_with_silence,
  spec_augment,
  stretch,
  stretched_lengths,
  warp_bins,
)
from lingvo_lite.stage.errors import InputError

_OFF = SpecAugmentConfig(
  frequency_masks=0,
  time_masks=0,
  max_gain_db=0.0,
  max_pitch_warp=0.0,
  max_speed_change=0.0,
)


def _features(batch=4, frames=200, seed=0):
  rng = np.random.default_rng(seed)
  return rng.uniform(1.0, 2.0, [batch, frames, 80]).astype(np.float32)


class LeadWithSilenceTest(tf.test.TestCase):
  def test_speech_comes_later_and_silence_before(self):
    features = _features(batch=32, frames=50)
    leads = np.arange(1, 33, dtype=np.int32)
    found = lead_with_silence(features, leads, [3, 4]).numpy()
    # What the front end makes of no sound at all.
    floor = LogMel()(tf.zeros([1, 400])).numpy().min()
    digital = 0
    for before, after, lead in zip(features, found, leads, strict=True):
      self.assertAllEqual(after[lead:], before[: 50 - lead])
      self.assertAllGreaterEqual(after[:lead], floor - 1e-5)
      # Quieter than any speech here.
      self.assertAllLess(np.mean(after[:lead], axis=1), floor + 1.6)
      digital += bool(np.allclose(after[:lead], floor, atol=1e-5))
    self.assertBetween(digital, 4, 20)

  def test_without_leads_nothing_changes(self):
    features = _features()
    leads = np.zeros(4, np.int32)
    self.assertAllEqual(lead_with_silence(features, leads, [1, 2]), features)


class SpecAugmentTest(tf.test.TestCase, parameterized.TestCase):
  def test_off_is_the_identity(self):
    features = _features()
    lengths = tf.constant([200, 150, 100, 1])
    self.assertAllEqual(spec_augment(features, lengths, [1, 2], _OFF), features)
    speeds = draw_speeds(lengths, lengths, [1, 2], _OFF)
    self.assertAllEqual(speeds, np.ones(4))
    self.assertAllEqual(stretched_lengths(lengths, speeds), lengths)
    self.assertAllEqual(stretch(features, lengths, speeds, 200)[0], features[0])

  def test_the_seed_decides(self):
    features, lengths = _features(), tf.fill([4], 200)
    config = SpecAugmentConfig()
    first = spec_augment(features, lengths, [1, 2], config)
    self.assertAllEqual(first, spec_augment(features, lengths, [1, 2], config))
    other = spec_augment(features, lengths, [1, 3], config)
    self.assertNotAllEqual(first, other)
    # Each utterance of a batch has masks of its own.
    self.assertNotAllEqual(first[0] == 0, first[1] == 0)

  def test_warp_by_hand(self):
    ramp = np.tile(np.arange(80, dtype=np.float32), [3, 2, 1])
    warped = warp_bins(ramp, tf.constant([1.0, 0.9, 1.5])).numpy()
    self.assertAllClose(warped[0], ramp[0])
    self.assertAllClose(warped[1, 0], 0.9 * np.arange(80), atol=1e-4)
    self.assertAllClose(
      warped[2, 1], np.minimum(1.5 * np.arange(80), 79.0), atol=1e-4
    )

  def test_frequency_masks_hide_whole_bins(self):
    config = dataclasses.replace(
      _OFF, frequency_masks=2, max_frequency_mask_bins=10
    )
    hidden = (
      spec_augment(_features(64), tf.fill([64], 200), [0, 0], config) == 0
    ).numpy()
    self.assertAllEqual(hidden.all(axis=1), hidden.any(axis=1))
    bins = hidden.any(axis=1).sum(axis=1)
    self.assertBetween(bins.max(), 11, 20)
    # Two widths, uniform in 0..10, seldom overlapping: about 10 bins.
    self.assertBetween(bins.mean(), 7, 12)

  def test_time_masks_keep_to_their_fraction_and_the_speech(self):
    config = dataclasses.replace(
      _OFF, time_masks=3, max_time_mask_frames=30, max_time_mask_fraction=0.1
    )
    lengths = tf.constant([200] * 32 + [50] * 32)
    hidden = spec_augment(_features(64), lengths, [0, 0], config) == 0
    frames = hidden.numpy().all(axis=2)
    self.assertAllEqual(frames, hidden.numpy().any(axis=2))
    self.assertLessEqual(frames[:32].sum(axis=1).max(), 3 * 20)
    self.assertLessEqual(frames[32:].sum(axis=1).max(), 3 * 5)
    self.assertTrue(frames[32:, :50].any())
    self.assertFalse(frames[32:, 50:].any())

  def test_gain_is_a_factor_on_the_audio(self):
    pcm = np.random.default_rng(0).normal(0, 0.1, [1, 4000]).astype(np.float32)
    features = LogMel()(pcm)
    config = dataclasses.replace(_OFF, max_gain_db=6.0)
    augmented = spec_augment(features, tf.constant([25]), [3, 4], config)
    shift = float((augmented - features)[0, 0, 0])
    gain_db = shift * LogMelConfig().log_std * 20 / math.log(10)
    self.assertBetween(abs(gain_db), 0.01, 6.0)
    louder = LogMel()(pcm * 10 ** (gain_db / 20))
    self.assertAllClose(augmented, louder, atol=1e-4)

  def test_stretch_of_a_ramp(self):
    ramp = np.arange(9, dtype=np.float32)[None, :, None] * np.ones([2, 1, 80])
    lengths, speeds = tf.constant([9, 5]), tf.constant([2.0, 0.5])
    self.assertAllEqual(stretched_lengths(lengths, speeds), [5, 9])
    result = stretch(tf.cast(ramp, tf.float32), lengths, speeds, 10)
    self.assertAllClose(
      result[:, :, 7],
      [
        [0, 2, 4, 6, 8, 8, 8, 8, 8, 8],
        [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4],
      ],
    )

  def test_speeds_leave_room_for_the_transcript(self):
    config = dataclasses.replace(_OFF, max_speed_change=0.3)
    lengths = tf.fill([500], 100)
    least = tf.constant([1, 97, 100, 105, 50] * 100)
    speeds = draw_speeds(lengths, least, [0, 0], config)
    self.assertBetween(float(tf.reduce_min(speeds)), 0.7, 0.72)
    self.assertBetween(float(tf.reduce_max(speeds)), 1.28, 1.3)
    after = stretched_lengths(lengths, speeds).numpy().reshape(100, 5)
    self.assertGreaterEqual(after[:, 1].min(), 97)
    self.assertGreaterEqual(after[:, 2].min(), 100)
    self.assertGreaterEqual(after[:, 3].min(), 100)
    self.assertLess(after[:, 4].min(), 80)

  @parameterized.parameters(
    {"frequency_masks": -1},
    {"max_gain_db": -3.0},
    {"max_time_mask_fraction": 5.0},
    {"max_speed_change": 1.0},
  )
  def test_bad_config(self, **fields):
    with self.assertRaisesRegex(InputError, f"found .*{next(iter(fields))}"):
      SpecAugmentConfig(**fields)


if __name__ == "__main__":
  tf.test.main()

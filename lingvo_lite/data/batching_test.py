"""Tests for batching."""

import collections
import time

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from lingvo_lite.audio.spec_augment import SpecAugmentConfig
from lingvo_lite.data.batching import (
  MAX_BUCKETS,
  bucket_lengths,
  bucketed_batches,
  eval_batches,
  spec_of_any_size,
)
from lingvo_lite.data.examples import Example, min_frames
from lingvo_lite.data.utterance import Utterance
from lingvo_lite.stage.errors import InputError


def _examples(count: int, seed: int = 0) -> list[Example]:
  """Examples whose every feature and first label tell which they are."""
  rng = np.random.default_rng(seed)
  examples = []
  for number in range(count):
    frames = int(rng.integers(50, 400))
    # No two neighbours are equal, and no label is the padding.
    labels = np.arange(rng.integers(2, 12)) % 2 + 1
    labels[0] = number + 3
    examples.append(
      Example(
        Utterance(f"1-1-{number:04}", "1", "1", "", ""),
        np.full([frames, 80], number + 1, np.float32),
        labels.astype(np.int32),
      )
    )
  return examples


def _numbers(batch) -> list[int]:
  return [int(label) - 3 for label in batch["labels"][:, 0]]


class BucketLengthsTest(tf.test.TestCase):
  def test_few_and_large_enough(self):
    counts = np.random.default_rng(0).integers(43, 507, 300)
    lengths = bucket_lengths(counts)
    self.assertLessEqual(len(lengths), MAX_BUCKETS)
    self.assertEqual(lengths, sorted(set(lengths)))
    self.assertTrue(all(length % 8 == 0 for length in lengths))
    self.assertBetween(lengths[-1], counts.max(), counts.max() + 7)
    stretched = bucket_lengths(counts, stretch_by=1.25)[-1]
    self.assertBetween(stretched, counts.max() * 1.25, counts.max() * 1.25 + 8)

  def test_one_utterance(self):
    self.assertEqual(bucket_lengths([100]), [104])


class BucketedBatchesTest(tf.test.TestCase, parameterized.TestCase):
  def test_every_example_whole_and_once_an_epoch(self):
    examples = _examples(64)
    batches = list(bucketed_batches(examples, 8, seed=1, repeat=False))
    self.assertLen(batches, 8)
    seen = sum([_numbers(batch) for batch in batches], [])
    self.assertCountEqual(seen, range(64))
    allowed = bucket_lengths([len(e.features) for e in examples])
    for batch in batches:
      self.assertEqual(batch["lengths"].dtype, tf.int32)
      frames = batch["features"].shape[1]
      self.assertIn(frames, allowed)
      for row, number in enumerate(_numbers(batch)):
        features, labels = examples[number].features, examples[number].labels
        self.assertEqual(batch["lengths"][row], len(features))
        self.assertEqual(batch["label_lengths"][row], len(labels))
        expected = np.zeros([frames, 80])
        expected[: len(features)] = features
        self.assertAllEqual(batch["features"][row], expected)
        padded = np.pad(labels, (0, batch["labels"].shape[1] - len(labels)))
        self.assertAllEqual(batch["labels"][row], padded)

  def test_batches_are_full_and_similar(self):
    examples = _examples(100)
    batches = list(bucketed_batches(examples, 16, seed=1, repeat=False))
    self.assertLen(batches, 7)
    counts = collections.Counter(sum([_numbers(b) for b in batches], []))
    self.assertLen(counts, 100)
    self.assertEqual(sum(counts.values()), 112)
    self.assertLessEqual(max(counts.values()), 2)
    padded = sum(np.prod(batch["features"].shape[:2]) for batch in batches)
    speech = sum(int(tf.reduce_sum(batch["lengths"])) for batch in batches)
    self.assertGreater(speech / padded, 0.8)
    means = [float(tf.reduce_mean(batch["lengths"])) for batch in batches]
    self.assertNotEqual(means, sorted(means))

  def test_fewer_examples_than_a_batch(self):
    (batch,) = bucketed_batches(_examples(3), 8, seed=1, repeat=False)
    self.assertEqual(batch["features"].shape[0], 8)
    self.assertEqual(set(_numbers(batch)), {0, 1, 2})

  def test_epochs_differ_and_the_seed_decides(self):
    def order(seed, batches=16, **kwargs):
      dataset = bucketed_batches(_examples(64), 8, seed, **kwargs)
      return [_numbers(batch) for batch in dataset.take(batches)]

    first = order(seed=1)
    self.assertEqual(first, order(seed=1))
    self.assertNotEqual(first, order(seed=2))
    self.assertNotEqual(first[:8], first[8:])
    self.assertCountEqual(sum(first[8:], []), range(64))
    # Who meets whom changes too, not only the order of the batches.
    self.assertNotEqual(
      {frozenset(numbers) for numbers in first[:8]},
      {frozenset(numbers) for numbers in first[8:]},
    )
    self.assertEqual(order(seed=1, batches=5, start_step=11), first[11:])

  def test_augmented(self):
    examples = _examples(64)
    config = SpecAugmentConfig()

    def batches():
      return list(bucketed_batches(examples, 8, 5, config, repeat=False))

    first = batches()
    self.assertCountEqual(
      sum([_numbers(batch) for batch in first], []), range(64)
    )
    self.assertLessEqual(
      len({batch["features"].shape[1] for batch in first}), MAX_BUCKETS
    )
    changed = 0
    for batch, again in zip(first, batches(), strict=True):
      self.assertAllEqual(batch["features"], again["features"])
      keep = tf.sequence_mask(batch["lengths"], batch["features"].shape[1])
      self.assertFalse(np.any(batch["features"].numpy()[~keep.numpy()]))
      for length, number in zip(
        batch["lengths"].numpy(), _numbers(batch), strict=True
      ):
        recorded = len(examples[number].features)
        self.assertBetween(length, recorded / 1.1 - 1, recorded / 0.9 + 1)
        self.assertGreaterEqual(length, min_frames(examples[number].labels))
        changed += length != recorded
    self.assertGreater(changed, 48)

  def test_is_no_bottleneck(self):
    batches = iter(bucketed_batches(_examples(300), 16, 1, SpecAugmentConfig()))
    next(batches)
    start = time.monotonic()
    for _ in range(50):
      next(batches)
    # About 1 ms each on an idle machine; this bound is for a busy one.
    self.assertLess(time.monotonic() - start, 2.0)

  def test_bad_arguments(self):
    with self.assertRaisesRegex(InputError, "no examples"):
      bucketed_batches([], 8, 1)
    with self.assertRaisesRegex(InputError, "batch_size=0"):
      bucketed_batches(_examples(3), 0, 1)


class LeadingSilenceTest(tf.test.TestCase):
  def test_lengths_grow_by_up_to_the_longest_silence(self):
    examples = _examples(40)
    augment = SpecAugmentConfig(
      frequency_masks=0,
      time_masks=0,
      max_gain_db=0.0,
      max_pitch_warp=0.0,
      max_speed_change=0.0,
      max_leading_silence_ms=300,
    )
    seen = []
    for batch in bucketed_batches(examples, 4, 0, augment, repeat=False):
      for number, length, features in zip(
        _numbers(batch), batch["lengths"], batch["features"], strict=True
      ):
        spoken = len(examples[number].features)
        lead = int(length) - spoken
        seen.append(lead)
        self.assertAllEqual(
          features[lead:length], examples[number].features[:spoken]
        )
        self.assertAllLess(features[:lead], 0.0)
        self.assertAllEqual(features[length:], 0 * features[length:])
    self.assertBetween(min(seen), 0, 5)
    self.assertBetween(max(seen), 25, 30)


class SpecOfAnySizeTest(tf.test.TestCase):
  def test_all_but_the_mel_bins_may_differ(self):
    batches = iter(bucketed_batches(_examples(30), 4, 0, None))
    spec = spec_of_any_size(next(batches))
    self.assertEqual(spec["features"].shape.as_list(), [None, None, 80])
    self.assertEqual(spec["labels"].shape.as_list(), [None, None])
    self.assertEqual(spec["lengths"].shape.as_list(), [None])
    for _ in range(8):
      other = next(batches)
      self.assertEqual(spec.keys(), other.keys())
      for key, tensor in other.items():
        self.assertTrue(spec[key].is_compatible_with(tensor), key)


class EvalBatchesTest(tf.test.TestCase):
  def test_every_example_once_by_length(self):
    examples = _examples(30)
    batches = list(eval_batches(examples, 8))
    index = np.concatenate([batch["index"] for batch in batches])
    self.assertCountEqual(index, range(30))
    lengths = np.concatenate([batch["lengths"] for batch in batches])
    self.assertAllEqual(lengths, np.sort(lengths))
    self.assertAllEqual([len(examples[i].features) for i in index], lengths)
    self.assertEqual([len(batch["index"]) for batch in batches], [8, 8, 8, 6])
    for batch in batches:
      self.assertAllEqual(batch["index"], _numbers(batch))

  def test_no_examples(self):
    with self.assertRaisesRegex(InputError, "no examples"):
      eval_batches([], 8)


if __name__ == "__main__":
  tf.test.main()

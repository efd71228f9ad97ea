"""Times and confidences of words, against paths written by hand."""

import itertools
import math

import numpy as np
from absl.testing import absltest

from lingvo_lite.decoding.words import (
  HeardLabel,
  align,
  greedy_labels,
  group_words,
  log_softmax,
)

_BLANK = 2


def _log_probs(frames, seed=0):
  logits = np.random.default_rng(seed).normal(0, 2, [frames, 3])
  return log_softmax(logits)


def _collapse(path):
  return [label for label, _ in itertools.groupby(path) if label != _BLANK]


class WordsTest(absltest.TestCase):
  def test_log_softmax_sums_to_one_and_does_not_overflow(self):
    rows = log_softmax(np.array([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(np.exp(rows).sum(-1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(rows[1], -math.log(3))

  def test_greedy_labels_of_a_path(self):
    # 0 0 blank 0 1 1 blank
    best = [0, 0, 2, 0, 1, 1, 2]
    log_probs = np.full([7, 3], math.log(0.1))
    log_probs[range(7), best] = np.log([0.5, 0.8, 0.8, 0.6, 0.7, 0.9, 0.8])
    heard = greedy_labels(log_probs, _BLANK, first_frame=10)
    self.assertEqual(
      [(one.label, one.start_frame, one.end_frame) for one in heard],
      [(0, 10, 12), (0, 13, 14), (1, 14, 16)],
    )
    np.testing.assert_allclose(
      [math.exp(one.log_probability) for one in heard], [0.8, 0.6, 0.9]
    )
    # The first run went on from the frame before.
    self.assertLen(greedy_labels(log_probs, _BLANK, last=0), 2)
    self.assertEqual(greedy_labels(log_probs[:2], _BLANK, last=0), [])

  def test_alignment_is_the_likeliest_path_that_reads_so(self):
    for seed in range(40):
      rng = np.random.default_rng(seed)
      log_probs = _log_probs(6, seed)
      labels = rng.integers(0, 2, rng.integers(1, 4)).tolist()
      paths = [
        path
        for path in itertools.product(range(3), repeat=6)
        if _collapse(path) == labels
      ]
      best = max(paths, key=lambda p: log_probs[range(6), list(p)].sum())
      expected, start = [], 0
      for label, run in itertools.groupby(best):
        end = start + len(list(run))
        if label != _BLANK:
          expected.append((label, start, end))
        start = end
      found = align(log_probs, labels, _BLANK)
      self.assertEqual(
        [(one.label, one.start_frame, one.end_frame) for one in found],
        expected,
      )

  def test_alignment_of_the_greedy_reading_is_the_greedy_path(self):
    log_probs = _log_probs(50)
    heard = greedy_labels(log_probs, _BLANK)
    again = align(log_probs, [one.label for one in heard], _BLANK)
    self.assertEqual(again, heard)
    self.assertEqual(align(log_probs, [], _BLANK), [])

  def test_words_are_parted_at_spaces(self):
    heard = [
      HeardLabel(1, 2, 3, math.log(0.9)),
      HeardLabel(2, 4, 6, math.log(0.4)),
      HeardLabel(0, 6, 7, math.log(0.01)),
      HeardLabel(0, 8, 9, math.log(0.01)),
      HeardLabel(2, 10, 11, math.log(0.5)),
      HeardLabel(0, 12, 13, 0.0),
    ]
    words = group_words(heard, (" ", "A", "B"))
    self.assertEqual([word.text for word in words], ["AB", "B"])
    self.assertEqual((words[0].start_s, words[0].end_s), (0.08, 0.24))
    self.assertEqual((words[1].start_s, words[1].end_s), (0.4, 0.44))
    self.assertAlmostEqual(words[0].confidence, 0.6)
    self.assertAlmostEqual(words[1].confidence, 0.5)
    self.assertEqual(group_words([], (" ",)), ())


if __name__ == "__main__":
  absltest.main()

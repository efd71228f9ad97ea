"""Tests of greedy decoding."""

import itertools

import numpy as np
from absl.testing import absltest

from lingvo_lite.decoding.greedy import greedy_decode


def _one_hot(paths):
  return np.eye(3, dtype=np.float32)[np.array(paths)]


class GreedyDecodeTest(absltest.TestCase):
  def test_joins_repeats_and_drops_blanks(self):
    logits = _one_hot([[0, 0, 2, 0, 1], [2, 2, 1, 1, 1], [2, 2, 2, 2, 2]])
    self.assertEqual(
      greedy_decode(logits, [5, 5, 5], blank_id=2), [[0, 0, 1], [1], []]
    )

  def test_reads_speech_frames_only(self):
    logits = _one_hot([[0, 1, 0, 1]])
    self.assertEqual(greedy_decode(logits, [2], blank_id=2), [[0, 1]])
    self.assertEqual(greedy_decode(logits, [0], blank_id=2), [[]])

  def test_equals_the_definition_on_every_short_path(self):
    paths = list(itertools.product(range(3), repeat=5))
    decoded = greedy_decode(_one_hot(paths), [5] * len(paths), blank_id=2)
    for path, labels in zip(paths, decoded, strict=True):
      expected = [label for label, _ in itertools.groupby(path) if label != 2]
      self.assertEqual(labels, expected)


if __name__ == "__main__":
  absltest.main()

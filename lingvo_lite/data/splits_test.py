"""Tests for splits."""

import random

from absl.testing import absltest

from lingvo_lite.data.splits import split_held_out, spread
from lingvo_lite.data.utterance import Utterance


def _utterance(speaker: str, number: int) -> Utterance:
  name = f"{speaker}-1-{number:04}"
  return Utterance(name, speaker, "1", name + ".ogg", "HELLO")


class SplitHeldOutTest(absltest.TestCase):
  def test_every_12th_of_each_speaker(self):
    utterances = [
      _utterance(speaker, number)
      for speaker, count in (("10", 24), ("11", 11), ("12", 13))
      for number in range(count)
    ]
    train, held_out = split_held_out(utterances)
    self.assertEqual(
      [u.id for u in held_out], ["10-1-0011", "10-1-0023", "12-1-0011"]
    )
    self.assertCountEqual(train + held_out, utterances)
    shuffled = random.Random(0).sample(utterances, len(utterances))
    self.assertEqual(split_held_out(shuffled), (train, held_out))

  def test_nothing(self):
    self.assertEqual(split_held_out([]), ([], []))


class SpreadTest(absltest.TestCase):
  def test_from_all_over(self):
    self.assertEqual(spread(range(10), 3), [0, 3, 6])
    self.assertEqual(spread("abcd", 4), ["a", "b", "c", "d"])
    self.assertEqual(spread("abcdefg", 4), ["a", "b", "c", "d"])

  def test_all_where_there_are_fewer(self):
    self.assertEqual(spread([1, 2], 5), [1, 2])
    self.assertEqual(spread([], 5), [])


if __name__ == "__main__":
  absltest.main()

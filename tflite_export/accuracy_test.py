"""Error rates by hand, and their intervals."""

import numpy as np
from absl.testing import absltest

from lingvo_lite.data.utterance import Utterance
from tflite_export.accuracy import accuracy, accuracy_by_domain
from tflite_export.speech import SpokenUtterance


def _spoken(chapter, transcript):
  utterance = Utterance("1", "2", chapter, "3.wav", transcript)
  return SpokenUtterance(utterance, np.zeros(8000, np.float32))


class AccuracyTest(absltest.TestCase):
  def test_by_hand(self):
    # One of five words wrong; 2 of 18 characters.
    found = accuracy(["TURN IT ON", "STOP NOW"], ["TURN AT ON", "STOP NOW"])
    self.assertAlmostEqual(found.wer, 1 / 5)
    self.assertAlmostEqual(found.cer, 1 / 18)
    self.assertEqual((found.words, found.utterances), (5, 2))
    low, high = found.wer_interval
    self.assertEqual(low, 0)
    self.assertAlmostEqual(high, 1 / 3)

  def test_nothing_recognised_is_all_wrong(self):
    found = accuracy(["A B", "C"], ["", ""])
    self.assertEqual((found.wer, found.wer_interval), (1.0, (1.0, 1.0)))

  def test_domains(self):
    spoken = [_spoken("1", "A B"), _spoken("2", "C"), _spoken("7", "D")]
    found = accuracy_by_domain(spoken, ["A B", "X", "D"])
    self.assertEqual(sorted(found), ["all", "commands", "general"])
    self.assertEqual(found["all"].wer, 0.25)
    self.assertEqual(found["general"].wer, 0.0)
    self.assertEqual(found["commands"].wer, 1.0)
    self.assertEqual(spoken[0].seconds, 0.5)


if __name__ == "__main__":
  absltest.main()

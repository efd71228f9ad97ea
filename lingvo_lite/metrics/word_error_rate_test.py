"""Tests of the error rates."""

from absl.testing import absltest

from lingvo_lite.metrics.word_error_rate import (
  character_error_rate,
  word_error_rate,
)


class WordErrorRateTest(absltest.TestCase):
  def test_edits_over_all_words(self):
    # One substitution, one deletion and one insertion over 3 + 2 words.
    references = ["CALL ANNA NOW", "PLAY MUSIC"]
    hypotheses = ["CALL HANNAH", "PLAY SOME MUSIC"]
    self.assertAlmostEqual(word_error_rate(references, hypotheses), 3 / 5)

  def test_can_exceed_one_and_hear_nothing(self):
    self.assertEqual(word_error_rate(["STOP"], ["S T O P"]), 4.0)
    self.assertEqual(word_error_rate(["STOP"], [""]), 1.0)

  def test_characters(self):
    self.assertAlmostEqual(character_error_rate(["STOP"], ["STEP"]), 1 / 4)


if __name__ == "__main__":
  absltest.main()

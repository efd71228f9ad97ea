"""Quantiles over speakers, by hand."""

from absl.testing import absltest

from fl.speaker_rates import speaker_rates


class SpeakerRatesTest(absltest.TestCase):
  def test_by_hand(self):
    # Speaker n of 0..10 says ten words in two utterances; n are misheard.
    speakers, references, hypotheses = [], [], []
    for number in range(11):
      said = ["A"] * 10
      heard = ["B"] * number + ["A"] * (10 - number)
      for part in (slice(0, 3), slice(3, 10)):
        speakers.append(f"s{number}")
        references.append(" ".join(said[part]))
        hypotheses.append(" ".join(heard[part]))
    rates = speaker_rates(speakers, references, hypotheses)
    self.assertEqual(rates["speakers"], 11)
    for name, rate in (
      ("wer_p10", 0.1), ("wer_p25", 0.25), ("wer_p50", 0.5), ("wer_p90", 0.9)
    ):  # fmt: skip
      self.assertAlmostEqual(rates[name], rate)
    # A tenth of eleven, rounded up.
    self.assertEqual(rates["worst_decile_speakers"], 2)
    self.assertAlmostEqual(rates["worst_decile_wer"], 0.95)

  def test_a_speaker_counts_once_however_much_it_says(self):
    rates = speaker_rates(
      ["a", "a", "a", "b"], ["A", "A", "A", "A"], ["A", "A", "A", "B C"]
    )
    self.assertAlmostEqual(rates["wer_p50"], (0 + 2) / 2)
    self.assertEqual(rates["worst_decile_speakers"], 1)
    self.assertFalse([name for name in rates if name in ("a", "b")])


if __name__ == "__main__":
  absltest.main()

"""Tests for normalization."""

from absl.testing import absltest

from lingvo_lite.text.normalization import normalize


class NormalizeTest(absltest.TestCase):
  def test_case_and_spaces(self):
    self.assertEqual(normalize("  Call\tme \n back "), "CALL ME BACK")

  def test_apostrophes(self):
    for mark in "'\u2018\u2019\u02bc\u00b4\uff07`":
      self.assertEqual(normalize(f"don{mark}t"), "DON'T")

  def test_keeps_what_it_does_not_know(self):
    self.assertEqual(normalize("at 10, caf\u00e9"), "AT 10, CAF\u00c9")

  def test_again_changes_nothing(self):
    once = normalize("Stra\u00dfe  don\u2019t e\u0301")
    self.assertEqual(normalize(once), once)
    self.assertEqual(normalize(""), "")


if __name__ == "__main__":
  absltest.main()

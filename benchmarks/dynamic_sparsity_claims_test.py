"""What the dynamic sparsity benchmark claims of its rows."""

from absl.testing import absltest

from benchmarks.dynamic_sparsity_claims import claims, difference_interval


def _wer(method, seed, level, wer, edits, step_ms=100.0):
  return {
    "kind": "wer",
    "method": method,
    "seed": seed,
    "level": level,
    "wer": wer,
    "passes": 3,
    "step_ms": step_ms,
    "edits": edits,
    "utterance_words": [5, 5],
  }


def _rows():
  rows = [
    _wer("dynamic", 0, "s00", 0.20, [1, 1], 240.0),
    _wer("dynamic", 1, "s00", 0.22, [1, 1], 260.0),
    _wer("single", 0, "s00", 0.20, [1, 1]),
    _wer("single", 1, "s00", 0.20, [1, 1]),
    _wer("dynamic", 0, "s80", 0.30, [1, 2], 240.0),
    _wer("single", 0, "s80", 0.40, [2, 2]),
  ]
  for level, size, latency in (("s00", 1000, 20.0), ("s80", 300, 15.0)):
    rows.append(
      {
        "kind": "file",
        "level": level,
        "bytes": size,
        "latency_ms": latency,
        "peak_rss_bytes": 50,
      }
    )
  rows.append(
    {
      "kind": "whole",
      "bytes_of_separate_files": 0.9,
      "peak_rss_bytes": {"s00": 50, "s80": 55},
      "switch_ms_largest": 0.01,
      "switching_grows_rss_bytes": 4096,
    }
  )
  return rows


class ClaimsTest(absltest.TestCase):
  def test_by_hand(self):
    found = [(claim.value, claim.met) for claim in claims(_rows())]
    expected = [
      (0.21 / 0.20 - 1, False),
      (0.30 / 0.40 - 1, True),
      (2.5 - 3, True),
      (0.75, False),
      (0.3, True),
      (0.9, True),
      (1.1, False),
      (0.01, True),
      (0.004096, True),
    ]
    self.assertLen(found, len(expected))
    for (value, met), (hand, hand_met) in zip(found, expected, strict=True):
      self.assertAlmostEqual(value, hand)
      self.assertEqual(met, hand_met)

  def test_what_was_not_measured_is_not_met(self):
    for claim in claims(_rows()[2:4]):
      self.assertIsNone(claim.value)
      self.assertFalse(claim.met)

  def test_interval_of_the_difference(self):
    low, high = difference_interval(_rows(), "s80")
    # An edit less in 5 words of the first utterance, none in the second.
    self.assertAlmostEqual(low, -0.2)
    self.assertAlmostEqual(high, 0.0)
    self.assertIsNone(difference_interval(_rows()[:2], "s00"))


if __name__ == "__main__":
  absltest.main()

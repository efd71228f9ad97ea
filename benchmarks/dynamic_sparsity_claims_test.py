"""What the dynamic sparsity benchmark claims of its rows."""

from absl.testing import absltest

from benchmarks.dynamic_sparsity_claims import (
  claims,
  difference_interval,
  wer_interval,
)
from benchmarks.dynamic_sparsity_tables import kernel_table, wer_table
from lingvo_lite.dynamic_sparsity.levels import SparsityLevels

_LEVELS = SparsityLevels((0.0, 0.8))


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
    found = [(c.value, c.met) for c in claims(_rows(), _LEVELS, 3)]
    expected = [
      (0.21 / 0.20 - 1, False),
      (0.30 / 0.40 - 1, True),
      (2.5, True),
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

  def test_a_step_may_cost_its_passes(self):
    cost = claims(_rows(), _LEVELS, 2)[2]
    self.assertEqual((cost.value, cost.target, cost.met), (2.5, "<= 2", False))

  def test_what_was_not_measured_is_claimed_and_not_met(self):
    ladder = SparsityLevels((0.0, 0.5, 0.8))
    for rows in ([], _rows()[2:4]):
      found = claims(rows, ladder, 3)
      self.assertLen(found, 10)
      for level, claim in zip(("s00", "s50", "s80"), found[:3], strict=True):
        self.assertStartsWith(claim.claim, level)
      for claim in found:
        self.assertIsNone(claim.value)
        self.assertFalse(claim.met)
    found = claims(_rows(), ladder, 3)
    self.assertEqual([c.value is None for c in found], [0, 1] + 8 * [0])

  def test_intervals(self):
    rows = _rows()
    low, high = difference_interval(rows, "s80", "single")
    # An edit less in 5 words of the first utterance, none in the second.
    self.assertAlmostEqual(low, -0.2)
    self.assertAlmostEqual(high, 0.0)
    low, high = wer_interval(rows, "dynamic", "s80")
    self.assertAlmostEqual(low, 0.2)
    self.assertAlmostEqual(high, 0.4)
    self.assertIsNone(difference_interval(rows, "s80", "pruned"))
    self.assertIsNone(wer_interval(rows[:2], "single", "s00"))


class TablesTest(absltest.TestCase):
  def test_by_hand(self):
    rows = [*_rows(), _wer("pruned", 0, "s80", 0.8, [4, 4])]
    table = wer_table(rows, _LEVELS).splitlines()
    self.assertEqual(
      table[2],
      "| s00 | 0.2100 (0.2000 to 0.2000) | 0.2000 (0.2000 to 0.2000) | not"
      " measured | +0.0000 to +0.0000 | not measured |",
    )
    self.assertEndsWith(
      table[3],
      "| 0.8000 (0.8000 to 0.8000) | -0.2000 to +0.0000 | -0.6000 to -0.4000 |",
    )
    kernel = {
      "kind": "kernel",
      "width": 128,
      "dense_ms": 2.0,
      "block_sparse_ms": 1.0,
      "ratio": 0.5,
    }
    self.assertEndsWith(
      kernel_table([*rows, kernel]), "| 128 | 2.000 | 1.000 | 0.50 |\n"
    )


if __name__ == "__main__":
  absltest.main()

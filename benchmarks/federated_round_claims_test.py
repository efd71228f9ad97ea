"""Claims about rounds, from rows made by hand."""

from absl.testing import absltest

from benchmarks.federated_round_claims import federated_round_claims


def _row(system, round_s, cohort=16):
  return {
    "kind": "round",
    "system": system,
    "cohort": cohort,
    "round_s": round_s,
    "first_round_s": 30.0,
  }


class FederatedRoundClaimsTest(absltest.TestCase):
  def test_values_and_verdicts_by_hand(self):
    rows = [
      _row("ours", 12.0),
      _row("ours", 1.0, cohort=4),
      _row("plain", 16.0),
      _row("plain_threads", 10.0),
      _row("stock", 24.0),
      _row("flower", 15.0),
      {"kind": "memory", "mb_a_round": 1.5},
      {"kind": "program", "first_round_s": 50.0},
    ]
    claims = federated_round_claims(rows, "what")
    self.assertEqual(
      [c.value for c in claims], [1.2, 0.5, 0.8, 30.0, 50.0, 1.5]
    )
    self.assertEqual(
      [c.met for c in claims], [True, False, True, True, False, False]
    )

  def test_what_was_not_measured_is_not_met(self):
    rows = [
      _row("ours", 12.0),
      {"kind": "skipped", "system": "flower", "reason": "no network"},
    ]
    claims = federated_round_claims(rows, "what")
    self.assertEqual(
      [c.value for c in claims], [None, None, None, 30.0, None, None]
    )
    self.assertEqual(sum(c.met for c in claims), 1)


if __name__ == "__main__":
  absltest.main()

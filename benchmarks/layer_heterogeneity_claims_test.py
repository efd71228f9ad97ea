"""Claims of the layer study, from rows made by hand."""

from absl.testing import absltest

from benchmarks.layer_heterogeneity_claims import (
  agreement_rows,
  claims_of,
  part_of,
  probe_agreement_row,
  reset_rows,
)
from benchmarks.layer_heterogeneity_study import CentralRun


def _round(strategy, fraction, cpu_seconds_of_first, counted=104):
  return {
    "kind": "client_round",
    "strategy": strategy,
    "fraction": fraction,
    "cpu_seconds_of_first": cpu_seconds_of_first,
    "predicted_download_bytes": 104,
    "download_bytes": [104, counted],
    "predicted_upload_bytes": 116,
    "upload_bytes": [116],
  }


def _federated(strategy, fraction, rates):
  return [
    {
      "kind": "federated",
      "strategy": strategy,
      "fraction": fraction,
      "seed": seed,
      "after": {"eval_general_wer": rate},
    }
    for seed, rate in enumerate(rates)
  ]


def _resets(deltas):
  return [
    {"group": name, "kind": "group", "probe": "reinit", "delta": delta}
    for name, delta in deltas.items()
  ]


def _found(deltas, churn):
  return {
    "importance": {"rows": _resets(deltas), "joint_rows": []},
    "churn": {"mean": {**churn, "block_00": 7.0}},
  }


class LayerHeterogeneityClaimsTest(absltest.TestCase):
  def values(self, rows):
    return {claim.claim: (claim.value, claim.met) for claim in claims_of(rows)}

  def test_without_rows_nothing_is_met(self):
    self.assertEqual(set(self.values([]).values()), {(None, False)})

  def test_by_hand(self):
    rows = [
      _round("full", 1.0, 1.0),
      _round("ranked", 0.5, 0.6),
      _round("ranked", 0.25, 0.5),
      _round("uniform", 0.5, 0.1),
      *_federated("full", 1.0, [0.1, 0.3]),
      *_federated("ranked", 0.5, [0.2, 0.22]),
      *_federated("uniform", 0.5, [0.24, 0.24]),
    ]
    values = list(self.values(rows).values())
    self.assertEqual(values[0], (0.0, True))
    # No identity was measured.
    self.assertEqual(values[1:4], [(None, False)] * 3)
    self.assertEqual(values[4], (0.6, True))
    self.assertEqual(values[5], (0.5, False))
    self.assertAlmostEqual(values[6][0], 0.05)
    self.assertAlmostEqual(values[7][0], -0.03)
    self.assertTrue(values[7][1])
    # Nothing was said about commands.
    self.assertEqual(values[8:], [(None, False)] * 2)

  def test_an_identity_counts_by_its_worst_case(self):
    rows = [
      {
        "kind": "identity",
        "identity": "extract, then scatter",
        "largest_difference": difference,
      }
      for difference in (0.0, 1e-7)
    ]
    self.assertEqual(
      self.values(rows)["extract, then scatter: largest difference"],
      (1e-7, False),
    )

  def test_every_row_is_of_one_part(self):
    for row, part in (
      ({"kind": "identity"}, "identities"),
      ({"kind": "reset", "run": "base"}, "probes"),
      ({"kind": "agreement", "runs": ["base", "base"]}, "probes"),
      ({"kind": "client_round"}, "client_rounds"),
      ({"kind": "churn", "run": "federated"}, "federated"),
      ({"kind": "churn", "run": "tiny_group_0"}, "central"),
      ({"kind": "reset", "run": "tiny_group_0"}, "central"),
      ({"kind": "agreement", "runs": ["tiny_group_0"] * 2}, "central"),
      ({"kind": "central", "run": "tiny_group_0"}, "central"),
    ):
      self.assertEqual(part_of(row), part)

  def test_a_byte_too_many_breaks_the_claim(self):
    value, met = next(
      iter(self.values([_round("full", 1.0, 1.0, counted=105)]).values())
    )
    self.assertEqual((value, met), (1.0, False))

  def test_rankings_of_models_of_other_depths_are_compared_by_depth(self):
    shallow = {"block_00/conv": 0.1, "block_00/ffn": 0.4,
               "block_01/conv": 0.2, "block_01/ffn": 0.3}  # fmt: skip
    deep = {
      f"block_{block:02d}/{module}": shallow[f"block_{block // 2:02d}/{module}"]
      + (0.01 if block % 2 else -0.01)
      for block in range(4)
      for module in ("conv", "ffn")
    }
    opposite = {name: -value for name, value in shallow.items()}
    found = {
      CentralRun("a", "group", 0, 9): _found(shallow, shallow),
      CentralRun("a", "group", 1, 9): _found(shallow, opposite),
      CentralRun("b", "group", 0, 9): _found(deep, deep),
    }
    rows = list(agreement_rows(found))
    # The last two differ in the seed and in the size: that says nothing.
    self.assertEqual(
      [(row["over"], row["measure"], row["runs"]) for row in rows],
      [
        ("seed", "reset", ["a_group_0", "a_group_1"]),
        ("seed", "churn", ["a_group_0", "a_group_1"]),
        ("preset", "reset", ["a_group_0", "b_group_0"]),
        ("preset", "churn", ["a_group_0", "b_group_0"]),
      ],
    )
    self.assertEqual(
      [round(row["kendall_tau"], 9) for row in rows], [1, -1, 1, 1]
    )
    self.assertEqual([row["overlap_at_4"] for row in rows], [1.0] * 4)

  def test_probes_of_one_run_are_compared(self):
    deltas = {"a/x": 0.1, "a/y": 0.2, "a/z": 0.3}
    swapped = {"a/x": 0.2, "a/y": 0.1, "a/z": 0.3}
    importance = {"rows": _resets(deltas), "rerand_rows": _resets(swapped)}
    row = probe_agreement_row("base", importance)
    # One of three pairs is the other way round.
    self.assertAlmostEqual(row["kendall_tau"], 1 / 3)
    self.assertEqual(row["over"], "probe")
    rows = list(reset_rows("base", importance))
    self.assertLen(rows, 6)
    self.assertEqual((rows[0]["kind"], rows[0]["part"]), ("reset", "group"))


if __name__ == "__main__":
  absltest.main()

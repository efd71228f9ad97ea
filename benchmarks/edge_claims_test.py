"""The claims of streaming, from rows by hand."""

from absl.testing import absltest

from benchmarks.edge_claims import edge_claims

_ROWS = [
  {
    "kind": "streaming",
    "recipe": "float32",
    "threads": 1,
    "wer": 0.20,
    "by_speech": {"general": {"wer": 0.09}},
    "rtf": 0.004,
    "cold_start_ms": 90.0,
    "cold_start_cpu_ms": 70.0,
    "process_ms": 170.0,
    "process_cpu_ms": 150.0,
    "import_cpu_ms": 85.0,
  },
  {
    "kind": "streaming",
    "recipe": "float32",
    "threads": 2,
    "wer": 0.99,
    "rtf": 0.9,
    "cold_start_ms": 900.0,
  },
  {
    "kind": "streaming",
    "recipe": "int8",
    "threads": 1,
    "wer": 0.215,
    "rtf": 0.003,
    "cold_start_ms": 160.0,
    "process_ms": 140.0,
    "process_cpu_ms": 151.0,
  },
  {"kind": "skipped", "system": "another", "reason": "no network"},
  {
    "kind": "full_context",
    "recipe": "float32",
    "wer": 0.16,
    "by_speech": {"general": {"wer": 0.05}},
  },
  {
    "kind": "pocketsphinx",
    "threads": 1,
    "wer": 0.9,
    "cpu_rtf": 0.1,
    "our_cpu_rtf": 0.004,
  },
  {
    "kind": "tensorflowasr",
    "threads": 1,
    "cpu_ms": 20.0,
    "our_cpu_ms": {"float32": 12.0, "int8": 8.0},
  },
]


class EdgeClaimsTest(absltest.TestCase):
  def test_claims_are_computed_from_rows(self):
    claims = edge_claims(_ROWS)
    self.assertEqual(
      [(claim.value, claim.met) for claim in claims],
      [
        (0.004, True),
        (0.015, False),
        (None, False),
        (1.25, False),
        (1.8, False),
        (90.0, True),
        (160.0, False),
        (70.0, True),
        (170.0, False),
        (150.0, True),
        (140.0, True),
        (151.0, False),
        (85.0, True),
        (25.0, True),
        (0.6, False),
        (0.4, True),
      ],
    )

  def test_what_was_not_measured_is_not_met(self):
    self.assertFalse(any(claim.met for claim in edge_claims([])))
    self.assertLen(edge_claims([]), 16)


if __name__ == "__main__":
  absltest.main()

"""The tables of streaming, from rows by hand."""

from absl.testing import absltest

from benchmarks.edge_table import edge_tables

_STREAMING = {
  "kind": "streaming", "recipe": "int8", "threads": 2, "bytes": 1_920_000,
  "wer": 0.25, "wer_interval": [0.2, 0.3], "rtf": 0.01, "cpu_rtf": 0.0042,
  "chunk_ms": 1.234, "chunk_ms_p95": 9.0, "first_word_ms": 270.4,
  "final_ms": 1.26, "cold_start_ms": 151.0, "cold_start_cpu_ms": 34.0,
  "process_ms": 140.6, "process_cpu_ms": 130.4, "peak_rss_bytes": 65_000_000,
}  # fmt: skip
_THEIRS = {
  "kind": "tensorflowasr", "version": "2.1.0", "utterances": 4, "cpu_ms": 8.0,
  "our_cpu_ms": {"float32": 5.0, "int8": 4.0}, "bytes": 7_050_000,
}  # fmt: skip
_BY = {
  "general": {"wer": 0.1, "wer_interval": [0.08, 0.12]},
  "held_out": {"wer": 0.05, "wer_interval": [0.04, 0.06]},
}


class EdgeTableTest(absltest.TestCase):
  def test_units_are_those_of_the_heads(self):
    streaming, errors, others = edge_tables(
      [_THEIRS, _STREAMING, {**_STREAMING, "threads": 1, "by_speech": _BY}]
    ).split("\n\n")
    self.assertIn(
      "| int8, 2 | 1.92 | 25.0 [20.0, 30.0] | 0.0100 | 0.0042 | 1.23 | 9.00 |"
      " 270 | 1.3 | 151 | 34 | 141 | 130 | 65 |",
      streaming,
    )
    self.assertIn("8.0 ms an utterance, float32 here 5.0, int8 here 4", others)
    self.assertIn(
      "| int8, streaming | 10.0 [8.0, 12.0] |  | 5.0 [4.0, 6.0] |", errors
    )
    for table in (streaming, errors, others):
      cells = {line.count("|") for line in table.strip().splitlines()}
      self.assertLen(cells, 1)

  def test_what_was_left_out_is_said(self):
    row = {"kind": "skipped", "system": "pocketsphinx", "reason": "no network"}
    self.assertIn(
      "| pocketsphinx |  | left out: no network |", edge_tables([row])
    )

  def test_nothing_measured_leaves_the_heads(self):
    self.assertLen(edge_tables([]).strip().splitlines(), 8)


if __name__ == "__main__":
  absltest.main()

"""Tables of the layer study, from rows made by hand."""

from absl.testing import absltest

from benchmarks.layer_heterogeneity_tables import study_tables


def _trained(kind, strategy, fraction, commands, **fields):
  return {
    "kind": kind,
    "strategy": strategy,
    "fraction": fraction,
    "after": {"eval_commands_wer": commands, "eval_general_wer": 0.1},
    **fields,
  }


def _round(strategy, fraction, cpu_seconds):
  return {
    "kind": "client_round",
    "strategy": strategy,
    "fraction": fraction,
    "client_params": 1000,
    "download_bytes": [4104],
    "upload_bytes": [4116, 4118],
    "cpu_seconds": cpu_seconds,
    "cpu_seconds_of_first": cpu_seconds / 2,
    "seconds_of_first": cpu_seconds / 2,
  }


class TablesTest(absltest.TestCase):
  def test_what_there_is(self):
    tables = study_tables(
      [
        _round("full", 1.0, 2.0),
        _round("ranked", 0.5, 1.3),
        _trained("federated", "full", 1.0, 0.2, seed=0),
        _trained("federated", "full", 1.0, 0.4, seed=1),
        _trained("variant", "ranked", 0.5, 0.5, changed={"rounds": "60"}),
        {"kind": "reset"},
      ]
    )
    for line in (
      "| ranked 0.5 | 1,000 | 4,104 | 4,116 to 4,118 | 1.30 | 0.650 | 0.650 |",
      "| full | 2 | 0.300 | 0.200, 0.400 | 0.100 | 0.100, 0.100 |",
      "| ranked 0.5 | `--rounds=60` | 0.500 | 0.100 |",
    ):
      self.assertIn(line, tables)
    for table in tables.split("\n\n"):
      self.assertLen({line.count("|") for line in table.split("\n") if line}, 1)

  def test_nothing_yet(self):
    self.assertEmpty(study_tables([{"kind": "reset"}]))


if __name__ == "__main__":
  absltest.main()

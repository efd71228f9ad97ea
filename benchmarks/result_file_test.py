"""Claims and the file they are written to."""

import json
import os

from absl.testing import absltest

from benchmarks.result_file import (
  Claim,
  claims_table,
  kept_rows,
  read_claims,
  write_result,
)
from lingvo_lite.stage.errors import InputError


class ResultFileTest(absltest.TestCase):
  def test_met_is_computed(self):
    self.assertTrue(Claim("size", 0.094, "<= 0.094").met)
    self.assertFalse(Claim("size", 0.0941, "<= 0.094").met)
    self.assertTrue(Claim("speed", 2.0, ">= 1.5").met)
    self.assertFalse(Claim("speed", 1.0, ">= 1.5").met)
    self.assertFalse(Claim("not measured", None, "<= 1").met)
    self.assertFalse(Claim("no number", float("nan"), "<= 1").met)

  def test_the_table_says_what_was_not_measured(self):
    claims = [Claim("size", 0.09412, "<= 0.1"), Claim("time", None, "<= 2")]
    self.assertEqual(
      claims_table(claims).splitlines()[3:],
      [
        "| size | 0.09412 | <= 0.1 | yes |",
        "| time | not measured | <= 2 | no |",
      ],
    )

  def test_a_target_that_says_nothing_is_refused(self):
    for target in ("0.1", "< 0.1", "<= much", "<=0.1"):
      with self.assertRaisesRegex(InputError, "expected `<= x` or"):
        Claim("size", 0.1, target)

  def test_the_file(self):
    path = os.path.join(self.create_tempdir().full_path, "r.json")
    write_result(
      path,
      config={"seed": 0},
      seconds=1.26,
      rows=[{"wer": 0.1}],
      claims=[Claim("wer", 0.1, "<= 0.2")],
    )
    with open(path) as file:
      found = json.load(file)
    self.assertEqual(found["schema_version"], 1)
    self.assertEqual(found["seconds"], 1.3)
    self.assertIn("cores", found["environment"])
    self.assertEqual(
      found["claims"],
      [{"claim": "wer", "value": 0.1, "target": "<= 0.2", "met": True}],
    )
    self.assertEqual(read_claims(path), [Claim("wer", 0.1, "<= 0.2")])
    self.assertEqual(kept_rows(path, {"seed": 0}), [{"wer": 0.1}])
    with self.assertRaisesRegex(InputError, "with seed 0, expected 1"):
      kept_rows(path, {"seed": 1})

  def test_claims_of_what_is_no_result_are_refused(self):
    path = os.path.join(self.create_tempdir().full_path, "r.json")
    with open(path, "w") as file:
      json.dump({"schema_version": 1, "claims": [{"claim": "wer"}]}, file)
    with self.assertRaisesRegex(InputError, "without a proper 'value'"):
      read_claims(path)


if __name__ == "__main__":
  absltest.main()

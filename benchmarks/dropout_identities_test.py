"""The identities hold exactly, and what is off is seen."""

from absl.testing import absltest

from benchmarks.dropout_identities import identity_rows


class DropoutIdentitiesTest(absltest.TestCase):
  def test_all_hold_exactly(self):
    rows = identity_rows()
    self.assertLen({row["identity"] for row in rows}, 3)
    for row in rows:
      self.assertEqual(row["largest_difference"], 0.0, row)


if __name__ == "__main__":
  absltest.main()

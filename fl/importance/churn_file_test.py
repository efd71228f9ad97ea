"""`churn.json`: what is read from runs, and what plans may be made from."""

import json
import os

from absl.testing import absltest

from fl.importance.churn_file import (
  against_importance,
  federated_churn,
  last_model,
  read_churn,
)
from fl.importance.importance_file import (
  Measured,
  group_importances,
  write_importance,
)
from lingvo_lite.stage.errors import InputError

_MODEL = {"num_blocks": 1, "d_model": 8}


class ChurnFileTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self._folder = self.create_tempdir().full_path

  def write(self, name, values):
    path = os.path.join(self._folder, name)
    with open(path, "w") as file:
      json.dump({"schema_version": 1, **values}, file)
    return path

  def test_rounds_are_averaged(self):
    path = self.write(
      "training.json",
      {"rows": [{"churn": {"a": 0.1}}, {"churn": {"a": 0.3}}]},
    )
    found = federated_churn(path)
    self.assertEqual(found["intervals"], [{"a": 0.1}, {"a": 0.3}])
    self.assertAlmostEqual(found["mean"]["a"], 0.2)

  def test_rounds_without_churn_are_refused(self):
    for rows in ([], [{"loss": 1.0}]):
      path = self.write("training.json", {"rows": rows})
      with self.assertRaisesRegex(InputError, "found no churn in the rounds"):
        federated_churn(path)

  def test_a_run_is_read_beside_its_model(self):
    with self.assertRaisesRegex(InputError, "keep training.json in the folder"):
      last_model(os.path.join(self._folder, "training.json"))

  def test_plans_read_the_churn_of_their_own_model_only(self):
    path = self.write(
      "churn.json",
      {
        "model": _MODEL,
        "model_sha256": "abc",
        "mean": {"block_00/conv": 0.2, "block_00": 0.1},
      },
    )
    groups = ["block_00/conv"]
    self.assertEqual(
      read_churn(path, _MODEL, "abc", groups), {"block_00/conv": 0.2}
    )
    central = self.write(
      "central.json",
      {
        "model": _MODEL,
        "model_sha256": "abc",
        "mean": {"block_00/conv": 0.2},
        "distance": {"block_00/conv": 0.7},
      },
    )
    self.assertEqual(
      read_churn(central, _MODEL, "abc", groups), {"block_00/conv": 0.7}
    )
    for model, digest, names, reason in (
      ({**_MODEL, "d_model": 16}, "abc", groups, "with d_model 8, expected 16"),
      (_MODEL, "abd", groups, "SHA-256 abc, expected abd"),
      (_MODEL, "abc", ["block_01/conv"], "proper 'block_01/conv'"),
    ):
      with self.assertRaisesRegex(InputError, reason):
        read_churn(path, model, digest, names)

  def test_importances_of_another_kind_of_model_are_refused(self):
    path = os.path.join(self._folder, "importance.json")
    row = {"group": "block_00/conv", "kind": "group", "delta": 0.2}
    write_importance(path, Measured(_MODEL, "abc", "def"), 0.1, 0.05, [row], {})
    # Any checkpoint of the kind will do.
    self.assertEqual(group_importances(path, _MODEL), {"block_00/conv": 0.2})
    with self.assertRaisesRegex(InputError, "with num_blocks 1, expected 8"):
      group_importances(path, {**_MODEL, "num_blocks": 8})

  def test_agreement_by_hand(self):
    moved = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    same = against_importance(moved, {n: v**2 for n, v in moved.items()}, 0)
    self.assertAlmostEqual(same["rho"], 1)
    self.assertEqual(same["overlap_at_quarter"], 1)
    opposed = against_importance(moved, {n: -v for n, v in moved.items()}, 0)
    self.assertAlmostEqual(opposed["rho"], -1)
    self.assertEqual(opposed["overlap_at_quarter"], 0)
    alike = against_importance(moved, dict.fromkeys(moved, 0.5), 0)
    self.assertIsNone(alike["rho"])


if __name__ == "__main__":
  absltest.main()

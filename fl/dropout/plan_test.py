"""Plans: their sizes, their budget, and what they refuse."""

import dataclasses
import json
import os

from absl.testing import absltest, parameterized

from fl.dropout.plan import DropoutPlan, ranked_plan
from fl.dropout.sub_model import variable_specs
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.presets import PRESETS
from lingvo_lite.models.unit_groups import unit_groups
from lingvo_lite.stage.errors import InputError

_CONFIG = dataclasses.replace(PRESETS["tiny"], num_blocks=2)
# The later in the model, the more important.
_IMPORTANCES = {
  name: 0.01 * number for number, name in enumerate(_CONFIG.full_units())
}


class PlanTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.specs = variable_specs(build_ctc_model(_CONFIG))
    cls.groups = unit_groups(_CONFIG)

  def plan(self, fraction, min_keep_rate=0.25, importances=_IMPORTANCES):
    return ranked_plan(
      _CONFIG.to_dict(),
      self.specs,
      self.groups,
      importances,
      fraction,
      min_keep_rate,
    )

  @parameterized.parameters(0.45, 0.5, 0.8, 0.99)
  def test_fits_the_budget_and_counts_what_is_built(self, fraction):
    plan = self.plan(fraction)
    built = build_ctc_model(_CONFIG.with_widths(plan.kept))
    self.assertEqual(plan.client_params, built.count_params())
    self.assertLessEqual(plan.client_params, fraction * plan.server_params)
    self.assertEqual(plan.download_bytes_per_client,
                     4 * plan.client_params + 4)  # fmt: skip
    self.assertEqual(plan.upload_bytes_per_client,
                     4 * plan.client_params + 16)  # fmt: skip

  def test_the_least_important_shrink_first_and_down_to_their_floors(self):
    rates = list(self.plan(0.7).keep_rates.values())
    touched = [rate for rate in rates if rate < 1]
    untouched = rates[len(touched) :]
    self.assertNotEmpty(touched)
    self.assertEqual(set(untouched), {1.0})
    # All but the last one touched are at their floors: a quarter of the hidden
    # units, half of the heads and of the norm groups.
    names = [name.split("/")[1] for name in _CONFIG.full_units()]
    for name, rate in list(zip(names, touched, strict=False))[:-1]:
      self.assertEqual(rate, 0.25 if name.startswith("ffn") else 0.5)

  def test_the_budget_is_used_up_to_one_unit(self):
    plan = self.plan(0.7)
    last = [name for name, rate in plan.keep_rates.items() if rate < 1][-1]
    wider = _CONFIG.with_widths({**plan.kept, last: plan.kept[last] + 1})
    self.assertGreater(
      build_ctc_model(wider).count_params(), 0.7 * plan.server_params
    )

  def test_the_whole_budget_keeps_everything(self):
    plan = self.plan(1.0)
    self.assertEqual(set(plan.keep_rates.values()), {1.0})
    self.assertEqual(plan.client_params, plan.server_params)

  @parameterized.parameters(0.0, -0.1, 1.01, 0.2, float("nan"))
  def test_a_budget_out_of_reach_is_refused_with_the_range(self, fraction):
    with self.assertRaisesRegex(InputError, r"expected 0\.\d+ to 1") as caught:
      self.plan(fraction)
    reachable = float(str(caught.exception).split("expected ")[1].split()[0])
    self.plan(reachable)

  def test_a_bad_floor_or_missing_importance_is_refused(self):
    with self.assertRaisesRegex(InputError, "min_keep_rate 0"):
      self.plan(0.5, min_keep_rate=0)
    with self.assertRaisesRegex(InputError, "no importance of block_00"):
      self.plan(0.5, importances={})

  def test_survives_the_disk(self):
    plan = self.plan(0.5)
    path = os.path.join(self.create_tempdir(), "dropout_plan.json")
    plan.write(path)
    self.assertEqual(DropoutPlan.read(path), plan)

  @parameterized.parameters(
    ({"schema_version": 2}, "schema_version 2"),
    ({"groups": [{"group": "a"}]}, "without a proper 'units'"),
    ({"groups": 3}, "without a proper"),
  )
  def test_a_damaged_file_is_refused(self, damage, reason):
    path = os.path.join(self.create_tempdir(), "dropout_plan.json")
    self.plan(0.5).write(path)
    with open(path, encoding="utf-8") as file:
      values = json.load(file)
    with open(path, "w", encoding="utf-8") as file:
      json.dump({**values, **damage}, file)
    with self.assertRaisesRegex(InputError, reason):
      DropoutPlan.read(path)

  def test_another_model_is_refused(self):
    plan = self.plan(0.5)
    plan.check_model(_CONFIG.to_dict())
    other = dataclasses.replace(_CONFIG, ffn_units=256)
    with self.assertRaisesRegex(InputError, "ffn_units 512, expected 256"):
      plan.check_model(other.to_dict())


if __name__ == "__main__":
  absltest.main()

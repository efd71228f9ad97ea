"""Plans: their sizes, their budget, and what they refuse."""

import dataclasses
import json
import os

import numpy as np
from absl.testing import absltest, parameterized

from fl.dropout.budget import client_params_budget, download_budget
from fl.dropout.plan import DropoutPlan, plan_of
from fl.dropout.strategies import (
  floors_of,
  keep_by_strategy,
  reachable_floors,
)
from fl.dropout.sub_model import VariableSpec, variable_specs
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.presets import PRESETS
from lingvo_lite.models.unit_groups import UnitGroup, UnitSlice, unit_groups
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

  def plan(
    self,
    fraction,
    min_keep_rate=0.25,
    importances=_IMPORTANCES,
    strategy="ranked",
  ):
    budget = client_params_budget(self.specs, self.groups, fraction)
    floors = floors_of(self.groups, min_keep_rate)
    return self.plan_within(budget, floors, importances, strategy)

  def plan_within(
    self, budget, floors, importances=_IMPORTANCES, strategy="ranked"
  ):
    kept = keep_by_strategy(strategy, self.groups, importances, budget, floors)
    return plan_of(_CONFIG.to_dict(), self.specs, self.groups, kept, strategy)

  @parameterized.product(
    fraction=(0.45, 0.5, 0.99), strategy=("ranked", "uniform", "inverse")
  )
  def test_fits_the_budget_and_counts_what_is_built(self, fraction, strategy):
    plan = self.plan(fraction, strategy=strategy)
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

  @parameterized.parameters("ranked", "uniform", "inverse")
  def test_the_budget_is_filled(self, strategy):
    draw = np.random.default_rng(0)
    floors = floors_of(self.groups, 0.25)
    least = client_params_budget(self.specs, self.groups, 1.0).cost(floors)
    whole = client_params_budget(self.specs, self.groups, 1.0).limit
    for _ in range(50):
      limit = int(draw.integers(least, whole + 1))
      budget = dataclasses.replace(
        client_params_budget(self.specs, self.groups, 1.0), limit=limit
      )
      importances = dict(
        zip(_IMPORTANCES, draw.normal(size=len(_IMPORTANCES)), strict=True)
      )
      kept = keep_by_strategy(
        strategy, self.groups, importances, budget, floors
      )
      left = limit - budget.cost(kept)
      self.assertGreaterEqual(left, 0)
      for group in self.groups:
        self.assertBetween(kept[group.name], floors[group.name], group.units)
        if kept[group.name] < group.units:
          # Not one more unit of any group that shrank fits.
          self.assertLess(left, budget.per_unit[group.name], group.name)

  def test_plans_of_one_budget_have_one_size(self):
    sizes = [
      self.plan(0.5, strategy=strategy).client_params
      for strategy in ("ranked", "uniform", "inverse")
    ]
    # A hidden unit is 257 parameters.
    self.assertLess(max(sizes) - min(sizes), 257)

  def test_what_a_whole_unit_leaves_goes_to_the_most_important_that_shrank(
    self,
  ):
    # One after the other: 10 units of 7, 10 of 1, 10 of 20.
    groups = [
      UnitGroup(name, 10, (UnitSlice(f"{name}/kernel:0", 1),)) for name in "abc"
    ]
    specs = [
      VariableSpec(f"{name}/kernel:0", (size, 10))
      for name, size in zip("abc", (7, 1, 20), strict=True)
    ]
    floors = {"a": 2, "b": 2, "c": 2}
    importances = {"a": 0.1, "b": 0.2, "c": 0.3}
    for limit, kept in (
      # a and b at their floors make 216 of 280; c must lose one unit, which
      # leaves 18 of 20: b gets its 8 back, and a one unit of 7.
      (214, {"a": 3, "b": 10, "c": 9}),
      (216, {"a": 2, "b": 2, "c": 10}),
      (217, {"a": 2, "b": 3, "c": 10}),
      (280, {"a": 10, "b": 10, "c": 10}),
    ):
      budget = dataclasses.replace(
        client_params_budget(specs, groups, 1.0), limit=limit
      )
      found = keep_by_strategy("ranked", groups, importances, budget, floors)
      self.assertEqual(found, kept)

  def test_the_whole_budget_keeps_everything(self):
    plan = self.plan(1.0)
    self.assertEqual(set(plan.keep_rates.values()), {1.0})
    self.assertEqual(plan.client_params, plan.server_params)

  def test_uniform_gives_all_the_same_rate_but_for_whole_units(self):
    plan = self.plan(0.6, strategy="uniform")
    rates = plan.keep_rates
    by_kind = {
      kind: {rate for name, rate in rates.items() if name.endswith(kind)}
      for kind in ("ffn_start", "ffn_end", "attention", "conv")
    }
    for kind in ("ffn_start", "ffn_end"):
      self.assertLess(max(by_kind[kind]) - min(by_kind[kind]), 0.1)
    # Four heads and eight norm groups: a unit is a quarter or an eighth.
    self.assertLess(max(rates.values()) - min(rates.values()), 0.26)
    self.assertGreater(plan.client_params, 0.6 * plan.server_params - 257)

  def test_inverse_shrinks_the_most_important_first(self):
    rates = list(self.plan(0.7, strategy="inverse").keep_rates.values())
    self.assertEqual(rates[0], 1.0)
    self.assertLess(rates[-1], 1.0)
    ranked = list(self.plan(0.7).keep_rates.values())
    self.assertLess(ranked[0], 1.0)
    self.assertEqual(ranked[-1], 1.0)

  def test_a_quarter_of_tiny_is_reached_without_being_told_a_floor(self):
    config = PRESETS["tiny"]
    specs = variable_specs(build_ctc_model(config))
    groups = unit_groups(config)
    budget = client_params_budget(specs, groups, 0.25)
    floors = reachable_floors(groups, budget)
    importances = {group.name: 0.0 for group in groups}
    for strategy in ("ranked", "uniform", "inverse"):
      kept = keep_by_strategy(strategy, groups, importances, budget, floors)
      built = build_ctc_model(config.with_widths(kept)).count_params()
      self.assertBetween(built / budget.cost(config.full_units()), 0.24, 0.25)
    # The first floors are kept wherever they allow the budget.
    half = client_params_budget(specs, groups, 0.5)
    self.assertEqual(reachable_floors(groups, half), floors_of(groups, 0.25))

  def test_a_budget_of_bytes_is_met_to_the_byte(self):
    floors = floors_of(self.groups, 0.25)
    limit = 4 * 500_000 + 4
    plan = self.plan_within(
      download_budget(self.specs, self.groups, limit),
      floors,
      strategy="uniform",
    )
    self.assertLessEqual(plan.download_bytes_per_client, limit)
    # A hidden unit is 257 parameters.
    self.assertGreater(plan.download_bytes_per_client, limit - 4 * 257)

  @parameterized.parameters(0.0, -0.1, 1.01, float("nan"))
  def test_a_fraction_that_is_none_is_refused(self, fraction):
    with self.assertRaisesRegex(InputError, "at most 1"):
      self.plan(fraction)

  def test_a_budget_out_of_reach_is_refused_with_the_range(self):
    with self.assertRaisesRegex(InputError, r"\(0\.\d+ to 1\)") as caught:
      self.plan(0.2)
    self.plan(float(str(caught.exception).split("(")[2].split()[0]))
    budget = download_budget(self.specs, self.groups, 10**9)
    with self.assertRaisesRegex(InputError, "1000000000 download_bytes"):
      self.plan_within(budget, floors_of(self.groups, 0.25))

  def test_a_bad_floor_or_other_importances_are_refused(self):
    with self.assertRaisesRegex(InputError, "at least one unit"):
      self.plan(0.5, min_keep_rate=0)
    with self.assertRaisesRegex(InputError, "no importance of block_00"):
      self.plan(0.5, importances={})
    with self.assertRaisesRegex(InputError, "'block_09/conv'"):
      self.plan(0.5, importances={**_IMPORTANCES, "block_09/conv": 0.0})
    with self.assertRaisesRegex(InputError, "importance nan"):
      self.plan(0.5, importances={**_IMPORTANCES, "block_00/conv": np.nan})
    with self.assertRaisesRegex(InputError, "strategy 'best'"):
      self.plan(0.5, strategy="best")

  def test_survives_the_disk(self):
    plan = self.plan(0.5)
    path = os.path.join(self.create_tempdir(), "dropout_plan.json")
    plan.write(path)
    self.assertEqual(DropoutPlan.read(path), plan)

  @parameterized.parameters(
    ({"schema_version": 2}, "schema_version 2"),
    ({"groups": [{"group": "a"}]}, "without a proper 'units'"),
    ({"groups": 3}, "without a proper"),
    (
      {"groups": [{"group": "a", "units": 4, "kept_units": 1.5}]},
      "^found 1.5 kept_units of a, expected whole units",
    ),
    (
      {
        "groups": [
          {"group": "a", "units": 4, "kept_units": 1, "keep_rate": 0.3}
        ]
      },
      "^found the keep rate 0.3 of a, 1.2 of its 4 units",
    ),
    (
      {
        "groups": [
          {"group": "a", "units": 4, "kept_units": 1, "keep_rate": 0.0}
        ]
      },
      "^found the keep rate 0.0 of a, 0 of its 4 units, expected the 1 kept",
    ),
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

  def test_units_that_do_not_fit_the_model_are_refused(self):
    plan = self.plan(0.5)
    self.assertEqual(
      plan.sub_model(self.specs, self.groups).client_params, plan.client_params
    )
    for kept, reason in (
      ({**plan.kept, "block_09/conv": 1}, "the group 'block_09/conv'"),
      ({**plan.kept, "block_00/conv": 0}, "0 kept units for block_00/conv"),
      ({**plan.kept, "block_00/conv": 9}, "9 kept units for block_00/conv"),
      ({**plan.kept, "block_01/ffn_end": 7}, "do not edit plans"),
    ):
      edited = dataclasses.replace(plan, kept=kept)
      with self.assertRaisesRegex(InputError, reason):
        edited.sub_model(self.specs, self.groups)
    for units, reason in (
      ({**plan.units, "block_00/conv": 16}, "16 units of block_00/conv"),
      ({"block_00/conv": 8}, "no units of block_00/ffn_start"),
    ):
      edited = dataclasses.replace(plan, units=units)
      with self.assertRaisesRegex(InputError, reason):
        edited.sub_model(self.specs, self.groups)

  def test_another_model_is_refused(self):
    plan = self.plan(0.5)
    plan.check_model(_CONFIG.to_dict())
    other = dataclasses.replace(_CONFIG, ffn_units=256)
    with self.assertRaisesRegex(InputError, "ffn_units 512, expected 256"):
      plan.check_model(other.to_dict())


if __name__ == "__main__":
  absltest.main()

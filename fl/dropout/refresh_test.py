"""Plans that follow churn, and hold still under noise."""

import dataclasses

from absl.testing import absltest

from fl.dropout.plan import plan_of
from fl.dropout.refresh import phase_ends, refreshed_plan, with_hysteresis
from fl.dropout.sub_model import VariableSpec
from lingvo_lite.models.unit_groups import UnitGroup, UnitSlice

# Four groups of 32 units of ten weights, and 100 weights of no group.
_NAMES = ("a", "b", "c", "d")
_SPECS = (
  *(VariableSpec(f"{name}/kernel:0", (10, 32)) for name in _NAMES),
  VariableSpec("out/kernel:0", (100,)),
)
_GROUPS = tuple(
  UnitGroup(name, 32, (UnitSlice(f"{name}/kernel:0", 1),)) for name in _NAMES
)


class RefreshTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    # a at its floor of a quarter, b half way.
    self.plan = plan_of(
      {"kind": "test"}, _SPECS, _GROUPS, {"a": 8, "b": 16}, "ranked"
    )

  def refresh(self, churn, hysteresis):
    return refreshed_plan(
      self.plan,
      self.plan.client_params,
      _SPECS,
      _GROUPS,
      dict(zip(_NAMES, churn, strict=True)),
      hysteresis,
    )

  def test_phases(self):
    self.assertEqual(phase_ends(48, 0), [48])
    self.assertEqual(phase_ends(48, 20), [20, 40, 48])
    self.assertEqual(phase_ends(40, 20), [20, 40])
    self.assertEqual(phase_ends(10, 20), [10])

  def test_the_least_moved_shrink_and_the_size_stays(self):
    plan = self.refresh([0.9, 0.8, 0.1, 0.2], hysteresis=0.0)
    self.assertEqual(plan.kept, {"a": 32, "b": 32, "c": 8, "d": 16})
    self.assertEqual(plan.client_params, self.plan.client_params)
    self.assertEqual(plan.strategy, "churn")

  def test_what_whole_units_leave_over_does_not_add_up(self):
    # Units of 10 and of 7 weights: 240 + 224 and 100 of no group.
    specs = (
      VariableSpec("a/kernel:0", (10, 24)),
      VariableSpec("b/kernel:0", (7, 32)),
      VariableSpec("out/kernel:0", (100,)),
    )
    groups = tuple(
      UnitGroup(name, units, (UnitSlice(f"{name}/kernel:0", 1),))
      for name, units in (("a", 24), ("b", 32))
    )
    first = plan = plan_of({}, specs, groups, {"a": 12, "b": 30}, "ranked")
    sizes = []
    for turn in range(6):
      churn = {"a": 1.0, "b": 2.0} if turn % 2 else {"a": 2.0, "b": 1.0}
      plan = refreshed_plan(
        plan, first.client_params, specs, groups, churn, 0.0
      )
      sizes.append(plan.client_params)
    self.assertEqual(set(sizes[::2]), {sizes[0]})
    self.assertEqual(set(sizes[1::2]), {sizes[1]})
    for size in sizes:
      self.assertBetween(size, first.client_params - 6, first.client_params)

  def test_noise_changes_nothing(self):
    # c moved a little less than a and b, which clients get in part.
    noise = [0.11, 0.12, 0.10, 0.50]
    self.assertNotEqual(self.refresh(noise, 0.0).kept, self.plan.kept)
    plan = self.refresh(noise, hysteresis=0.5)
    self.assertEqual(plan, dataclasses.replace(self.plan, strategy="churn"))
    # A real difference still does.
    plan = self.refresh([0.5, 0.20, 0.10, 0.50], hysteresis=0.5)
    self.assertEqual(plan.kept["c"], 8)

  def test_by_hand(self):
    self.assertEqual(
      with_hysteresis({"a": 2.0, "b": 2.0}, {"a": 1.0, "b": 0.25}, 0.5),
      {"a": 3.0, "b": 2.25},
    )


if __name__ == "__main__":
  absltest.main()

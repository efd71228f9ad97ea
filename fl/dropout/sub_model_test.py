"""Extract and scatter, against hand-made cases and real models."""

import dataclasses

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from fl.dropout.selection import LeadingUnits, RandomUnits, unit_selection
from fl.dropout.sub_model import (
  SubModel,
  VariableSpec,
  flatten,
  unflatten,
  variable_specs,
)
from fl.dropout.unit_order import order_by_magnitude
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.presets import PRESETS
from lingvo_lite.models.unit_groups import UnitGroup, UnitSlice, unit_groups
from lingvo_lite.stage.errors import InputError

_SPECS = (
  VariableSpec("in/kernel:0", (2, 4)),
  VariableSpec("in/bias:0", (4,)),
  VariableSpec("out/kernel:0", (4, 1)),
)
_GROUP = UnitGroup(
  "hidden",
  4,
  (
    UnitSlice("in/kernel:0", 1),
    UnitSlice("in/bias:0", 0),
    UnitSlice("out/kernel:0", 0),
  ),
)


def _small(**changes):
  return dataclasses.replace(PRESETS["tiny"], num_blocks=1, **changes)


class SubModelTest(parameterized.TestCase, tf.test.TestCase):
  def test_extracts_what_one_would_by_hand(self):
    sub_model = SubModel(_SPECS, [_GROUP], {"hidden": 2})
    self.assertEqual(sub_model.server_params, 16)
    self.assertEqual(sub_model.client_params, 8)
    self.assertEqual(sub_model.client_shapes, ((2, 2), (2,), (2, 1)))
    full = tf.range(16.0)
    units = {"hidden": tf.constant([1, 3])}
    self.assertAllEqual(
      sub_model.extract(full, units), [1, 3, 5, 7, 9, 11, 13, 15]
    )

  def test_scatter_adds_to_held_coordinates_only(self):
    sub_model = SubModel(_SPECS, [_GROUP], {"hidden": 2})
    (scattered,) = sub_model.scatter_add(
      [tf.ones([16])], [tf.fill([8], 2.0)], {"hidden": tf.constant([0, 2])}
    )
    self.assertAllEqual(scattered, [3.0, 1.0] * 8)

  def test_copies_and_wide_units_lie_where_the_group_says(self):
    spec = VariableSpec("gate/kernel:0", (1, 12))
    group = UnitGroup("gate", 3, (UnitSlice("gate/kernel:0", 1, 2, copies=2),))
    sub_model = SubModel([spec], [group], {"gate": 1})
    units = {"gate": tf.constant([2])}
    self.assertAllEqual(
      sub_model.extract(tf.range(12.0), units), [4, 5, 10, 11]
    )

  @parameterized.parameters(*sorted(PRESETS))
  def test_extract_then_scatter_is_the_identity_for_every_preset(self, preset):
    # One block has all kinds of groups.
    config = dataclasses.replace(PRESETS[preset], num_blocks=1)
    specs = variable_specs(build_ctc_model(config))
    kept = {g.name: (g.units + 1) // 2 for g in unit_groups(config)}
    sub_model = SubModel(specs, unit_groups(config), kept)
    units = RandomUnits(sub_model, 1, "client").units(0, 0)
    full = tf.random.stateless_normal([sub_model.server_params], [1, 2])
    part = sub_model.extract(full, units)
    zeros = tf.zeros_like(full)
    back, held = sub_model.scatter_add(
      [zeros, zeros], [part, tf.ones_like(part)], units
    )
    self.assertAllEqual(back, tf.where(held > 0, full, 0.0))
    self.assertEqual(tf.reduce_sum(held), sub_model.client_params)
    self.assertAllInSet(held, [0.0, 1.0])

  @parameterized.parameters("group", "layer")
  def test_shapes_are_those_of_the_sub_model_that_is_built(self, norm):
    config = _small(norm=norm)
    kept = {g.name: (g.units + 1) // 2 for g in unit_groups(config)}
    specs = variable_specs(build_ctc_model(config))
    sub_model = SubModel(specs, unit_groups(config), kept)
    built = build_ctc_model(config.with_widths(kept)).trainable_variables
    self.assertEqual(
      sub_model.client_shapes, tuple(tuple(v.shape) for v in built)
    )
    self.assertEqual([s.name for s in specs], [v.name for v in built])

  def test_keeping_all_units_is_the_full_model(self):
    sub_model = SubModel(_SPECS, [_GROUP], {"hidden": 4})
    self.assertTrue(sub_model.is_whole)
    self.assertAllEqual(sub_model.extract(tf.range(16.0), {}), tf.range(16.0))

  def test_dropped_hidden_units_change_nothing_but_the_output_they_fed(self):
    """A sub-model computes what the full one does with its units at zero."""
    weights = [
      np.arange(8.0).reshape(2, 4),
      np.zeros(4),
      np.array([[1.0], [2.0], [3.0], [4.0]]),
    ]
    sub_model = SubModel(_SPECS, [_GROUP], {"hidden": 2})
    flat = tf.cast(flatten(weights), tf.float32)
    part = sub_model.extract(flat, {"hidden": tf.constant([0, 3])})
    kernel, bias, out = unflatten(part, sub_model.client_shapes)
    inputs = tf.constant([[1.0, 1.0]])
    # (0 + 4) * 1 + (3 + 7) * 4
    self.assertAllEqual((inputs @ kernel + bias) @ out, [[44.0]])

  def test_batch_norm_is_refused(self):
    model = build_ctc_model(_small(norm="batch"))
    with self.assertRaisesRegex(InputError, "use norm='group' or norm='layer'"):
      variable_specs(model)

  @parameterized.parameters(({"other": 1}, "expected one of"),
                            ({"hidden": 0}, "expected 1 to 4"),
                            ({"hidden": 5}, "expected 1 to 4"))  # fmt: skip
  def test_bad_plans_are_refused(self, kept, reason):
    with self.assertRaisesRegex(InputError, reason):
      SubModel(_SPECS, [_GROUP], kept)

  def test_groups_of_another_model_are_refused(self):
    with self.assertRaisesRegex(InputError, "of another model"):
      SubModel(_SPECS[:2], [_GROUP], {"hidden": 2})
    wider = dataclasses.replace(_GROUP, units=5)
    with self.assertRaisesRegex(InputError, "of another model"):
      SubModel(_SPECS, [wider], {"hidden": 2})

  def test_units_depend_on_round_and_client_as_the_scope_says(self):
    group = UnitGroup("hidden", 64, (UnitSlice("in/bias:0", 0),))
    sub_model = SubModel([VariableSpec("in/bias:0", (64,))], [group],
                         {"hidden": 32})  # fmt: skip

    def draw(scope, round_number, client):
      selection = RandomUnits(sub_model, 7, scope)
      return selection.units(round_number, client)["hidden"].numpy().tolist()

    for scope in ("client", "round"):
      self.assertEqual(draw(scope, 1, 2), draw(scope, 1, 2))
      self.assertNotEqual(draw(scope, 1, 2), draw(scope, 2, 2))
      self.assertLen(set(draw(scope, 1, 2)), 32)
    self.assertNotEqual(draw("client", 1, 2), draw("client", 1, 3))
    self.assertEqual(draw("round", 1, 2), draw("round", 1, 3))
    with self.assertRaisesRegex(InputError, "mask_scope"):
      RandomUnits(sub_model, 7, "cohort")

  def test_leading_units_are_nested_and_the_same_for_all(self):
    order = {"hidden": [2, 0, 3, 1]}
    kept = {}
    for units in (1, 2, 3):
      selection = unit_selection(
        "run", SubModel(_SPECS, [_GROUP], {"hidden": units}), 7, order
      )
      kept[units] = selection.units(0, 0)["hidden"].numpy().tolist()
      self.assertEqual(kept[units], selection.units(5, 9)["hidden"].numpy()
                       .tolist())  # fmt: skip
    self.assertEqual(kept, {1: [2], 2: [0, 2], 3: [0, 2, 3]})
    for other in ({}, {"hidden": [0, 1, 2]}, {"hidden": [0, 1, 2, 2]}):
      with self.assertRaisesRegex(InputError, "no order of the 4 units"):
        LeadingUnits(SubModel(_SPECS, [_GROUP], {"hidden": 1}), other)

  def test_the_order_is_by_the_norm_of_all_that_belongs_to_a_unit(self):
    weights = np.zeros(16, np.float32)
    # Unit 3 by its inputs (3, 4), unit 1 by its bias, unit 2 by its output.
    weights[[3, 7]] = 3, 4
    weights[8 + 1] = 6
    weights[12 + 2] = -7
    self.assertEqual(
      order_by_magnitude(_SPECS, [_GROUP], weights), {"hidden": [2, 1, 3, 0]}
    )
    # Wide units in two copies: unit 1 has entries 2, 3, 8 and 9.
    spec = VariableSpec("gate/kernel:0", (1, 12))
    group = UnitGroup("gate", 3, (UnitSlice("gate/kernel:0", 1, 2, copies=2),))
    weights = np.array([1, 1, 0, 0, 0, 1, 1, 1, 0, 9, 0, 0], np.float32)
    self.assertEqual(
      order_by_magnitude([spec], [group], weights), {"gate": [1, 0, 2]}
    )


if __name__ == "__main__":
  tf.test.main()

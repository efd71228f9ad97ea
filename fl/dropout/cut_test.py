"""Sub-models that stand on their own."""

import dataclasses
import os

import numpy as np
import tensorflow as tf

from fl.dropout.cut import cut_out
from fl.dropout.plan import plan_of
from fl.dropout.sub_model import flatten, variable_specs
from fl.dropout.unit_order import (
  order_by_magnitude,
  read_unit_order,
  write_unit_order,
)
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.model_file import load_model, save_model
from lingvo_lite.models.presets import PRESETS
from lingvo_lite.models.unit_groups import unit_groups
from lingvo_lite.stage.errors import InputError

_CONFIG = dataclasses.replace(PRESETS["tiny"], num_blocks=1)
_KEPT = {"block_00/ffn_start": 128, "block_00/attention": 2,
         "block_00/conv": 4, "block_00/ffn_end": 512}  # fmt: skip


def _plan(kept, config=_CONFIG):
  specs = variable_specs(build_ctc_model(config))
  groups = unit_groups(config)
  return plan_of(config.to_dict(), specs, groups, kept, "ranked")


def _order(model):
  return order_by_magnitude(
    variable_specs(model),
    unit_groups(_CONFIG),
    flatten(model.trainable_variables).numpy(),
  )


class CutTest(tf.test.TestCase):
  def test_is_the_full_model_with_the_other_units_silent(self):
    """Half of a feed-forward module's units matter; the cut keeps those."""
    model = build_ctc_model(_CONFIG, seed=1)
    name = "block_00/ffn_start"
    speaks = (np.arange(512) % 2).astype(np.float32)
    expand = model.get_layer(f"{name}/expand").kernel
    expand.assign(expand * speaks)
    contract = model.get_layer(f"{name}/contract").kernel
    contract.assign(contract * speaks[:, np.newaxis])
    order = _order(model)
    self.assertEqual(set(order[name][:256]), set(np.flatnonzero(speaks)))
    cut, config = cut_out(model, _CONFIG, _plan({name: 256}), order)
    self.assertEqual(dict(config.widths), {name: 256})
    inputs = [tf.random.stateless_normal([2, 40, 80], [1, 2]),
              tf.constant([40, 32])]  # fmt: skip
    # A sub-model makes up for what it lacks by a scale of 2; undo that here.
    contract = cut.get_layer(f"{name}/contract").kernel
    contract.assign(contract / 2)
    self.assertAllClose(cut(inputs), model(inputs), atol=1e-4)

  def test_goes_to_disk_and_back_at_the_size_of_the_plan(self):
    model = build_ctc_model(_CONFIG, seed=1)
    plan = _plan(_KEPT)
    cut, config = cut_out(model, _CONFIG, plan, _order(model))
    self.assertEqual(cut.count_params(), plan.client_params)
    folder = self.create_tempdir().full_path
    save_model(cut, config, os.path.join(folder, "model.keras"))
    again, found = load_model(os.path.join(folder, "model.keras"))
    self.assertEqual(found, config)
    for one, other in zip(cut.variables, again.variables, strict=True):
      self.assertAllEqual(one, other)
    with self.assertRaisesRegex(InputError, "a sub-model itself"):
      cut_out(cut, config, plan, _order(model))
    path = os.path.join(folder, "unit_order.json")
    write_unit_order(path, _order(model))
    self.assertEqual(read_unit_order(path), _order(model))

  def test_plans_and_orders_of_other_models_are_refused(self):
    model = build_ctc_model(_CONFIG)
    other = dataclasses.replace(_CONFIG, ffn_units=256)
    with self.assertRaisesRegex(InputError, "ffn_units 256, expected 512"):
      cut_out(model, _CONFIG, _plan({}, other), _order(model))
    with self.assertRaisesRegex(InputError, "no order of the 4 units"):
      cut_out(model, _CONFIG, _plan(_KEPT), {"block_00/ffn_start":
                                             list(range(512))})  # fmt: skip


if __name__ == "__main__":
  tf.test.main()

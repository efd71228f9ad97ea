"""Mixed precision: what is measured, and what is chosen within a budget."""

import math

import numpy as np
import tensorflow as tf

from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.stage.errors import InputError
from tflite_export.sensitivity import (
  Choice,
  assign,
  check_budget,
  choices_of,
  measure_sensitivity,
)

_CONFIG = ConformerConfig(
  num_blocks=1,
  d_model=8,
  ffn_units=16,
  num_heads=2,
  conv_kernel_size=3,
  subsampling_channels=2,
  norm_groups=2,
)
_TWO, _FOUR, _EIGHT = Choice(2), Choice(4), Choice(8)


class SensitivityTest(tf.test.TestCase):
  def test_bits_a_weight_by_hand(self):
    self.assertEqual(_FOUR.bits_a_weight, 4)
    # Two of four: half of 4 bits, and log2(6) bits for four places.
    self.assertAlmostEqual(
      Choice(4, (2, 4)).bits_a_weight, 2 + math.log2(6) / 4
    )
    self.assertEqual(Choice(8, (1, 4)).bits_a_weight, 2.5)
    bits = [choice.bits_a_weight for choice in choices_of((2, 4))]
    self.assertLen(bits, 5)
    self.assertEqual(bits, sorted(bits))

  def test_a_choice_by_hand(self):
    kernel = np.array([[7.0], [-3], [2], [1]], np.float32)
    self.assertAllEqual(
      Choice(4, (2, 4)).applied_to(kernel)[:, 0], [7, -3, 0, 0]
    )

  def test_the_budget_goes_where_it_wins_most(self):
    sensitivity = {
      "robust": {_TWO: 0.2, _FOUR: 0.1, _EIGHT: 0.0},
      "fragile": {_TWO: 9.0, _FOUR: 1.0, _EIGHT: 0.9},
      "large": {_TWO: 9.0, _FOUR: 1.0, _EIGHT: 0.9},
    }
    weights = {"robust": 10, "fragile": 10, "large": 1000}

    def chosen(mean_bits):
      found = assign(sensitivity, weights, mean_bits)
      return [found[name].bits for name in sensitivity]

    self.assertEqual(chosen(2.0), [2, 2, 2])
    self.assertEqual(chosen(2.03), [2, 4, 2])
    # The rest of the budget does not reach for the large one.
    self.assertEqual(chosen(2.5), [8, 8, 2])
    self.assertEqual(chosen(4.0), [4, 4, 4])
    self.assertEqual(chosen(8.0), [8, 8, 8])
    with self.assertRaisesRegex(InputError, "at least 2.00"):
      assign(sensitivity, weights, 1.5)

  def test_a_budget_below_every_choice_needs_no_measurement(self):
    check_budget(None, None)
    check_budget(2.0, (2, 4))
    with self.assertRaisesRegex(InputError, "1.9 .*mean_bits.*least 2.00"):
      check_budget(1.9, (2, 4))
    # Four bits of every fourth weight, and two bits for its place.
    check_budget(1.5, (1, 4))
    with self.assertRaisesRegex(InputError, "least 1.50"):
      check_budget(1.4, (1, 4))

  def test_a_layer_is_measured_alone_and_put_back(self):
    model = build_ctc_model(_CONFIG)
    before = model.get_weights()
    features = tf.random.stateless_normal([2, 40, 80], [0, 0])
    batch = {"features": features, "lengths": tf.constant([40, 30])}
    names = ["block_00/ffn_start/expand", "ctc/logits"]
    found = measure_sensitivity(model, names, [_TWO, _EIGHT], [batch])
    for name in names:
      self.assertLess(found[name][_EIGHT], 0.05 * found[name][_TWO], name)
    again = measure_sensitivity(model, names[1:], [_TWO], [batch])
    self.assertAlmostEqual(again[names[1]][_TWO], found[names[1]][_TWO], 5)
    for old, new in zip(before, model.get_weights(), strict=True):
      self.assertAllEqual(old, new)
    with self.assertRaisesRegex(InputError, "found no speech"):
      measure_sensitivity(model, names, [_TWO], [])


if __name__ == "__main__":
  tf.test.main()

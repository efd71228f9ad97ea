"""Faults are drawn as often as asked, and do what they say."""

import collections

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from fl.faults.fault_lab import FaultConfig
from fl.faults.round_policy import RoundPolicy
from fl.processes.admission import admit
from lingvo_lite.stage.errors import InputError


def _sabotaged(config, round_number=0, client=0):
  return tf.function(config.sabotage)(
    tf.constant([1.0, -2.0, 2.0]),
    tf.constant(round_number),
    tf.constant(client),
  )


class FaultLabTest(parameterized.TestCase, tf.test.TestCase):
  def test_faults_are_as_frequent_as_asked_and_repeatable(self):
    config = FaultConfig(dropout=0.2, slow=0.1, nan=0.3, seed=4)
    draws = [config.fault(r, c) for r in range(20) for c in range(20)]
    counts = collections.Counter(draws)
    for fault, fraction in (
      ("dropout", 0.2), ("slow", 0.1), ("nan", 0.3), (None, 0.4)
    ):  # fmt: skip
      self.assertAlmostEqual(counts[fault] / 400, fraction, delta=0.07)
    self.assertEqual(set(counts), {"dropout", "slow", "nan", None})
    self.assertEqual(config.fault(3, 5), draws[3 * 20 + 5])
    again = [config.fault(r, c, 1) for r in range(20) for c in range(20)]
    self.assertNotEqual(again, draws)

  def test_each_sabotage_is_turned_down_for_what_it_is(self):
    for name, field in (
      ("nan", "not_finite"), ("inf", "not_finite"),
      ("oversized", "oversized"), ("misshapen", "misshapen"),
    ):  # fmt: skip
      with self.subTest(name):
        update = _sabotaged(FaultConfig(**{name: 1.0}))
        admitted, accepted, rejections = admit(update, 3, max_norm=1000.0)
        self.assertFalse(accepted)
        self.assertAllEqual(admitted, [0, 0, 0])
        counted = rejections._asdict()
        self.assertEqual(counted.pop(field), 1)
        self.assertAllEqual(list(counted.values()), [0, 0])

  def test_the_draw_inside_the_graph_is_the_one_outside(self):
    config = FaultConfig(dropout=0.3, nan=0.3, misshapen=0.3)
    for client in range(20):
      update = _sabotaged(config, round_number=2, client=client)
      fault = config.fault(2, client)
      self.assertEqual(bool(np.isnan(update).any()), fault == "nan")
      self.assertLen(update, 4 if fault == "misshapen" else 3)

  def test_a_crash_raises(self):
    with self.assertRaisesRegex(tf.errors.InvalidArgumentError, "on purpose"):
      _sabotaged(FaultConfig(crash=1.0))

  def test_a_good_update_is_taken_as_it_is(self):
    update = _sabotaged(FaultConfig(dropout=1.0))
    admitted, accepted, rejections = admit(update, 3, max_norm=3.0)
    self.assertTrue(accepted)
    self.assertAllEqual(admitted, [1, -2, 2])
    self.assertAllEqual(list(rejections), [0, 0, 0])
    # Its norm is 3.
    _, accepted, _ = admit(update, 3, max_norm=2.99)
    self.assertFalse(accepted)
    for size in (2, 4):
      _, accepted, rejections = admit(update, size, max_norm=3.0)
      self.assertFalse(accepted)
      self.assertEqual(rejections.misshapen, 1)

  @parameterized.parameters(
    (dict(nan=1.5), "--fault_nan=1.5"),
    (dict(nan=-0.1), "--fault_nan=-0.1"),
    (dict(nan=0.6, crash=0.6), "add up to 1.2"),
    (dict(slowdown=1.0), "--fault_slowdown=1.0"),
  )
  def test_settings_out_of_range_are_refused(self, settings, message):
    with self.assertRaisesRegex(InputError, message):
      FaultConfig(**settings)

  @parameterized.parameters(
    (dict(min_clients=-1), "--min_clients=-1"),
    (dict(max_attempts=0), "--round_attempts=0"),
    (dict(deadline_s=0.0), "--deadline_s=0.0"),
    (dict(client_step_s=float("nan")), "--client_step_s=nan"),
  )
  def test_policies_out_of_range_are_refused(self, settings, message):
    with self.assertRaisesRegex(InputError, message):
      RoundPolicy(**settings)


if __name__ == "__main__":
  tf.test.main()

"""Rounds of clients of several sizes, by hand and against those of one size."""

import contextlib
from collections import OrderedDict

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl.dropout.message_sizes import download_bytes, upload_bytes
from fl.dropout.selection import LeadingUnits, RandomUnits
from fl.dropout.sub_model import SubModel, variable_specs
from fl.dropout.tiers import Tiers, one_tier
from fl.processes.aggregation import AggregationConfig
from fl.processes.client_work import LocalTraining
from fl.processes.compose import build_federated_process
from fl.runtime.local import local_runtime
from fl.runtime.remote import Address, remote_runtime
from fl.runtime.worker import LOOPBACK, Worker
from lingvo_lite.models.unit_groups import UnitGroup, UnitSlice
from lingvo_lite.stage.errors import InputError

_HIDDEN = UnitGroup(
  "hidden",
  4,
  (UnitSlice("hidden/kernel:0", 1), UnitSlice("out/kernel:0", 0)),
)
_BATCH = OrderedDict(
  x=tf.TensorSpec([None, 1], tf.float32), y=tf.TensorSpec([None, 1], tf.float32)
)
_RATE = 0.25


def _model(hidden=4, dropout=0.0):
  """y = b a x, with a and b of as many values as there are hidden units."""
  inputs = tf.keras.Input([1])
  values = tf.keras.layers.Dense(hidden, use_bias=False, name="hidden")(inputs)
  values = tf.keras.layers.Dropout(dropout, name="dropout")(values)
  outputs = tf.keras.layers.Dense(1, use_bias=False, name="out")(values)
  return tf.keras.Model(inputs, outputs)


def _squared_error(model, batch):
  outputs = model(batch["x"], training=True)
  return tf.reduce_mean(tf.math.squared_difference(outputs, batch["y"]))


def _data(x, y, copies):
  return tf.data.Dataset.from_tensors(
    OrderedDict(
      x=np.full([copies, 1], x, np.float32),
      y=np.full([copies, 1], y, np.float32),
    )
  )


def _random(kept, scope="client"):
  specs = variable_specs(_model())
  return RandomUnits(SubModel(specs, [_HIDDEN], {"hidden": kept}), 3, scope)


def _leading(kept):
  specs = variable_specs(_model())
  sub_model = SubModel(specs, [_HIDDEN], {"hidden": kept})
  return LeadingUnits(sub_model, {"hidden": [2, 0, 1, 3]})


def _process(tiers, dropout=0.0, **settings):
  def training(kept):
    return LocalTraining(
      lambda: _model(kept, dropout),
      _squared_error,
      tff.learning.optimizers.build_sgdm(_RATE),
      lambda round_number: tf.constant(_RATE),
      clip_norm=None,
      seed=3,
    )

  widths = [s.sub_model.client_shapes[0][1] for s in tiers.selections]
  return build_federated_process(
    variable_specs(_model()),
    tiers,
    [training(width) for width in widths],
    _BATCH,
    tff.learning.optimizers.build_sgdm(1.0),
    lambda round_number: tf.constant(1.0),
    **settings,
  )


def _start(process, weights):
  return process.initialize()._replace(
    global_model_weights=np.asarray(weights, np.float32)
  )


def _clients(data):
  return [
    OrderedDict(client=np.array([client], np.int32), batches=batches)
    for client, batches in data.items()
  ]


# Of clients 0 to 4, the even ones have one hidden unit, the odd ones all.
_WIDTHS = Tiers(("narrow", "wide"), (_leading(1), _leading(4)), (0, 1, 0, 1, 0))


class TieredRoundTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.enterClassContext(local_runtime())

  def test_two_widths_by_hand(self):
    process = _process(_WIDTHS)
    # All weights are 1. Client 2, three examples, has unit 2 alone: it says 1,
    # should say 3, and each of its two weights has the gradient
    # 2 (1 - 3) = -4: an update of -1. Client 3, one example, has all four
    # units: it says 4, should say 3.5, gradient 1, an update of 1/4. Unit 2
    # gets (3 (-1) + 1 / 4) / 4 = -11/16, the others 1/4.
    output = process.next(
      _start(process, np.ones(8)),
      _clients({2: _data(1, 3, copies=3), 3: _data(1, 3.5, copies=1)}),
    )
    expected = [0.75, 0.75, 1.6875, 0.75]
    self.assertAllEqual(output.state.global_model_weights, expected * 2)
    work = output.metrics["client_work"]
    # (3 * 4 + 1 * 0.25) / 4
    self.assertEqual(work["loss"], 3.0625)
    self.assertAllEqual(work["tier_loss"], [4, 0.25])
    self.assertAllEqual(work["tier_clients"], [1, 1])
    self.assertEqual(output.metrics["aggregator"]["held_fraction"], 1)

  def test_what_only_the_absent_tier_holds_stays(self):
    process = _process(_WIDTHS)
    output = process.next(
      _start(process, np.ones(8)), _clients({0: _data(1, 3, copies=2)})
    )
    self.assertAllEqual(
      output.state.global_model_weights, [1, 1, 2, 1, 1, 1, 2, 1]
    )
    work = output.metrics["client_work"]
    self.assertAllEqual(work["tier_clients"], [1, 0])
    self.assertAllEqual(np.isnan(work["tier_loss"]), [False, True])

  def test_a_broken_update_counts_in_no_tier(self):
    process = _process(_WIDTHS)
    broken, good = _data(np.nan, 3, copies=3), _data(1, 3.5, copies=1)
    output = process.next(
      _start(process, np.ones(8)), _clients({2: broken, 3: good})
    )
    self.assertEqual(output.metrics["client_work"]["rejected"].not_finite, 1)
    self.assertAllEqual(output.metrics["client_work"]["tier_clients"], [0, 1])
    self.assertAllEqual(output.state.global_model_weights, [0.75] * 8)

  def test_tiers_of_one_size_are_one_tier_bit_for_bit(self):
    weights = np.random.default_rng(0).normal(size=8)
    data = {c: _data(0.1 * c + 0.2, 1, copies=c + 1) for c in (0, 1, 3, 4)}
    for scope in ("client", "round"):
      states = []
      for tiers in (
        one_tier(_random(2, scope), 5),
        Tiers(("a", "b"), (_random(2, scope),) * 2, (0, 1, 1, 0, 1)),
      ):
        process = _process(tiers, dropout=0.5)
        state = _start(process, weights)
        for _ in range(3):
          state = process.next(state, _clients(data)).state
        states.append(state.global_model_weights)
      self.assertEqual(states[0].tobytes(), states[1].tobytes())
      self.assertNotAllClose(states[0], weights)

  def test_bytes_are_those_of_each_tier(self):
    process = _process(_WIDTHS)
    self.assertEqual(
      process.download_bytes_per_client, (download_bytes(2), download_bytes(8))
    )
    self.assertEqual(
      process.upload_bytes_per_client, (upload_bytes(2), upload_bytes(8))
    )

  def test_the_median_is_over_those_who_held_a_weight(self):
    process = _process(_WIDTHS, aggregation=AggregationConfig(rule="median"))
    # Updates of unit 2: -1, -1/2 (2 (1 - 2) / 4) and 1/4; of the others: 1/4.
    output = process.next(
      _start(process, np.ones(8)),
      _clients({0: _data(1, 3, 1), 2: _data(1, 2, 1), 3: _data(1, 3.5, 1)}),
    )
    self.assertAllEqual(
      output.state.global_model_weights, [0.75, 0.75, 1.5, 0.75] * 2
    )

  def test_sums_of_one_size_are_refused(self):
    with self.assertRaisesRegex(InputError, "found --tiers with --privacy"):
      _process(_WIDTHS, aggregation=AggregationConfig(secure=True))


class RemoteTieredRoundTest(tf.test.TestCase):
  def test_two_workers_do_what_one_does(self):
    data = {c: _data(1, c, copies=c + 1) for c in range(5)}
    results = []
    for count in (0, 2):
      with contextlib.ExitStack() as stack:
        workers = [
          stack.enter_context(contextlib.closing(Worker(1, 1)))
          for _ in range(count)
        ]
        addresses = [Address(LOOPBACK, worker.port) for worker in workers]
        stack.enter_context(
          remote_runtime(addresses) if addresses else local_runtime()
        )
        process = _process(_WIDTHS)
        output = process.next(_start(process, np.ones(8)), _clients(data))
        results.append(output.state.global_model_weights)
        self.assertAllEqual(
          output.metrics["client_work"]["tier_clients"], [3, 2]
        )
    self.assertAllClose(*results)


if __name__ == "__main__":
  tf.test.main()

"""What the server does between rounds, on a model whose steps are known."""

import itertools

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl.processes.client_work import LocalTraining
from fl.rehearsal import Rehearsal, RehearsalPlan


def _model():
  inputs = tf.keras.Input([1])
  return tf.keras.Model(
    inputs, tf.keras.layers.Dense(1, use_bias=False, name="out")(inputs)
  )


def _objective(model, batch):
  return tf.reduce_sum(model(batch["x"], training=True))


def _rehearsal(starts, steps=2, clip_norm=None, **training):
  def batches(start):
    starts.append(start)
    numbers = tf.data.Dataset.counter(start + 1).map(
      lambda n: {"x": tf.cast([[n]], tf.float32)}
    )
    return numbers

  training = LocalTraining(
    _model,
    _objective,
    tff.learning.optimizers.build_sgdm(1.0),
    # Half the rate in each round.
    lambda number: 0.1 * 0.5 ** tf.cast(number, tf.float32),
    clip_norm=clip_norm,
    seed=0,
    **training,
  )
  return Rehearsal(RehearsalPlan(training, batches, steps))


class RehearsalTest(tf.test.TestCase):
  def test_two_rounds_by_hand(self):
    starts = []
    rehearsal = _rehearsal(starts)
    # The gradient of w * x is x: batches 1 and 2, then 3 and 4.
    weights, loss = rehearsal.after_round(np.array([10.0], np.float32), 0)
    self.assertAllClose(weights, [10 - 0.1 * (1 + 2)])
    self.assertAllClose(loss, (10 * 1 + 9.9 * 2) / 2)
    weights, _ = rehearsal.after_round(weights, 1)
    self.assertAllClose(weights, [9.7 - 0.05 * (3 + 4)])
    # One stream, not one a round.
    self.assertEqual(starts, [0])

  def test_a_round_is_the_same_when_it_is_the_first(self):
    starts = []
    weights, _ = _rehearsal(starts).after_round(np.array([9.7], np.float32), 1)
    self.assertAllClose(weights, [9.7 - 0.05 * (3 + 4)])
    self.assertEqual(starts, [2])

  def test_batches_of_all_lengths_share_a_graph(self):
    traces = []

    def objective(model, batch):
      traces.append(batch["x"].shape)
      return tf.reduce_sum(model(tf.reshape(batch["x"], [-1, 1])))

    def batches(start):
      for size in itertools.count(start + 1):
        yield {"x": tf.ones([size, size])}

    training = LocalTraining(
      _model,
      objective,
      tff.learning.optimizers.build_adam(0.1),
      lambda number: tf.constant(0.1),
      clip_norm=None,
      seed=0,
    )
    rehearsal = Rehearsal(RehearsalPlan(training, batches, 3))
    weights = np.array([1.0], np.float32)
    for number in range(2):
      weights, _ = rehearsal.after_round(weights, number)
    self.assertLen(traces, 1)

  def test_gradients_are_clipped(self):
    weights, _ = _rehearsal([], steps=1, clip_norm=0.5).after_round(
      np.array([1.0], np.float32), 0
    )
    self.assertAllClose(weights, [1 - 0.1 * 0.5])

  def test_zeros_are_kept_where_asked(self):
    zero = np.array([0.0], np.float32)
    weights, _ = _rehearsal([]).after_round(zero, 0)
    self.assertNotEqual(weights[0], 0)
    weights, _ = _rehearsal([], keep_zeros=True).after_round(zero, 0)
    self.assertEqual(weights[0], 0)


if __name__ == "__main__":
  tf.test.main()

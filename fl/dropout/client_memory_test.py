"""The model of a client's memory, against its parts and a real step."""

import dataclasses

import tensorflow as tf
import tensorflow_federated as tff
from absl.testing import parameterized

from fl.dropout.client_memory import (
  LocalBatch,
  peak_memory_budget,
  peak_memory_bytes,
)
from fl.dropout.strategies import floors_of, keep_by_strategy
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.presets import PRESETS
from lingvo_lite.models.unit_groups import unit_groups
from lingvo_lite.stage.errors import InputError
from lingvo_lite.training.ctc_objective import ctc_objective

_CONFIG = dataclasses.replace(PRESETS["tiny"], num_blocks=1)
_BATCH = LocalBatch(utterances=4, frames=200)
_SPEC = {
  "features": tf.TensorSpec([None, None, 80]),
  "lengths": tf.TensorSpec([None], tf.int32),
  "labels": tf.TensorSpec([None, None], tf.int32),
  "label_lengths": tf.TensorSpec([None], tf.int32),
}


def _speech(batch):
  many = batch.utterances
  return {
    "features": tf.random.stateless_normal([many, batch.frames, 80], [1, 2]),
    "lengths": tf.fill([many], batch.frames),
    "labels": tf.ones([many, 4], tf.int32),
    "label_lengths": tf.fill([many], 4),
  }


def _status_bytes(name):
  with open("/proc/self/status", encoding="utf-8") as file:
    for line in file:
      if line.startswith(name + ":"):
        return int(line.split()[1]) * 1024
  raise AssertionError(f"no {name}")


def _measured_bytes(config, batch):
  """Returns by how much a client's step raises the memory of this process."""
  model = build_ctc_model(config)
  variables = tuple(model.trainable_variables)
  optimizer = tff.learning.optimizers.build_adam(1e-3)

  @tf.function(input_signature=[_SPEC])
  def step(speech):
    state = optimizer.initialize(
      tuple(tf.TensorSpec(v.shape, v.dtype) for v in variables)
    )
    before = [variable + 0.0 for variable in variables]
    with tf.GradientTape() as tape:
      loss = ctc_objective(model, speech)
    _, values = optimizer.next(
      state,
      tuple(variable.read_value() for variable in variables),
      tuple(tape.gradient(loss, variables)),
    )
    for variable, value in zip(variables, values, strict=True):
      variable.assign(value)
    update = zip(before, variables, strict=True)
    return tf.concat([tf.reshape(b - v, [-1]) for b, v in update], 0)

  # What the graph itself takes is there after a small step.
  step(_speech(LocalBatch(1, 80)))
  speech = _speech(batch)
  start = _status_bytes("VmRSS")
  with open("/proc/self/clear_refs", "w", encoding="utf-8") as file:
    file.write("5")
  step(speech)
  return _status_bytes("VmHWM") - start


class ClientMemoryTest(parameterized.TestCase, tf.test.TestCase):
  def test_grows_with_the_batch_and_shrinks_with_the_widths(self):
    whole = peak_memory_bytes(_CONFIG, _BATCH)
    larger = LocalBatch(utterances=8, frames=200)
    twice = peak_memory_bytes(_CONFIG, larger)
    params = build_ctc_model(_CONFIG).count_params()
    # Twice the activations, the same parameters.
    self.assertEqual(twice - whole, whole - 7 * 4 * params)
    narrow = _CONFIG.with_widths({"block_00/ffn_start": 128})
    saved = whole - peak_memory_bytes(narrow, _BATCH)
    # 384 hidden units: 257 parameters each, and their values before and after
    # the swish on each of 50 frames of 4 utterances.
    self.assertEqual(saved, 4 * 384 * (7 * 257 + 4 * 50 * 2))

  @parameterized.parameters("ranked", "uniform")
  def test_a_budget_is_what_the_sub_model_takes(self, strategy):
    groups = unit_groups(_CONFIG)
    floors = floors_of(groups, 0.25)
    whole = peak_memory_bytes(_CONFIG, _BATCH)
    limit = int(0.8 * whole)
    budget = peak_memory_budget(_CONFIG, _BATCH, limit)
    importances = {group.name: float(i) for i, group in enumerate(groups)}
    kept = keep_by_strategy(strategy, groups, importances, budget, floors)
    taken = peak_memory_bytes(_CONFIG.with_widths(kept), _BATCH)
    self.assertEqual(taken, budget.cost(kept))
    self.assertLessEqual(taken, limit)
    self.assertGreater(taken, 0.9 * limit)

  def test_is_near_what_a_real_step_takes(self):
    batch = LocalBatch(utterances=8, frames=800)
    measured = _measured_bytes(_CONFIG, batch)
    self.assertBetween(
      peak_memory_bytes(_CONFIG, batch), 0.6 * measured, 1.6 * measured
    )

  @parameterized.parameters((0, 100), (4, 0))
  def test_an_empty_batch_is_refused(self, utterances, frames):
    with self.assertRaisesRegex(InputError, "expected 1 or more"):
      LocalBatch(utterances, frames)


if __name__ == "__main__":
  tf.test.main()

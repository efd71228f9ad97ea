"""What must hold exactly of sub-models and rounds, measured on real models."""

import dataclasses
from collections import OrderedDict
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl.dropout.selection import RandomUnits
from fl.dropout.sub_model import SubModel, flatten, variable_specs
from fl.dropout.tiers import one_tier
from fl.processes.client_work import LocalTraining
from fl.processes.compose import build_federated_process
from fl.runtime.local import local_runtime
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.presets import PRESETS
from lingvo_lite.models.unit_groups import unit_groups

_RATE = 0.1
_ROUNDS = 3
_FEATURES = 3
_BATCH = OrderedDict(
  x=tf.TensorSpec([None, _FEATURES], tf.float32),
  y=tf.TensorSpec([None, 1], tf.float32),
)
_OPTIMIZERS = tff.learning.optimizers


def identity_rows() -> list[dict[str, Any]]:
  """Returns rows of kind `identity`: what was compared, and how far it is off.

  `largest_difference` is 0 where the identity holds exactly.
  """
  rows = [
    {
      "kind": "identity",
      "identity": "extract, then scatter",
      "of": preset,
      "largest_difference": _there_and_back(preset),
    }
    for preset in sorted(PRESETS)
  ]
  with local_runtime():
    rows += [
      {
        "kind": "identity",
        "identity": "keep rate 1 is federated averaging",
        "of": f"{_ROUNDS} rounds of build_weighted_fed_avg",
        "largest_difference": _keeping_everything(),
      },
      {
        "kind": "identity",
        "identity": "a round worked out by hand",
        "of": "2 clients, 1 layer",
        "largest_difference": _by_hand(),
      },
    ]
  return rows


def _there_and_back(preset: str) -> float:
  """Extracts half of a preset's units and scatters them back."""
  # One block has all kinds of groups.
  config = dataclasses.replace(PRESETS[preset], num_blocks=1)
  specs, groups = variable_specs(build_ctc_model(config)), unit_groups(config)
  kept = {group.name: (group.units + 1) // 2 for group in groups}
  sub_model = SubModel(specs, groups, kept)
  units = RandomUnits(sub_model, 1, "client").units(0, 0)
  full = tf.random.stateless_normal([sub_model.server_params], [1, 2])
  part = sub_model.extract(full, units)
  zeros = tf.zeros_like(full)
  back, held = sub_model.scatter_add(
    [zeros, zeros], [part, tf.ones_like(part)], units
  )
  expected = tf.where(held > 0, full, 0.0)
  missing = abs(float(tf.reduce_sum(held)) - sub_model.client_params)
  return max(float(tf.reduce_max(tf.abs(back - expected))), missing)


def _keeping_everything() -> float:
  """Trains the same with TFF's federated averaging and with keep rate 1."""

  def model() -> tf.keras.Model:
    inputs = tf.keras.Input([_FEATURES])
    hidden = tf.keras.layers.Dense(4, activation="tanh", name="hidden")(inputs)
    return tf.keras.Model(inputs, tf.keras.layers.Dense(1, name="out")(hidden))

  def tff_model() -> tff.learning.models.VariableModel:
    return tff.learning.models.from_keras_model(
      model(),
      loss=tf.keras.losses.MeanSquaredError(),
      input_spec=(_BATCH["x"], _BATCH["y"]),
    )

  theirs_process = tff.learning.algorithms.build_weighted_fed_avg(
    tff_model,
    client_optimizer_fn=_OPTIMIZERS.build_sgdm(_RATE),
    server_optimizer_fn=_OPTIMIZERS.build_sgdm(1.0),
    loop_implementation=tff.learning.LoopImplementation.DATASET_ITERATOR,
  )
  ours_process = _process(model, _BATCH)
  # Unequal amounts of data, so that weighting counts.
  data = [_noise(seed, steps) for seed, steps in ((1, 3), (2, 1), (3, 2))]
  theirs = theirs_process.initialize()
  ours = _begin(
    ours_process, flatten(theirs.global_model_weights.trainable).numpy()
  )
  for _ in range(_ROUNDS):
    pairs = [one.map(lambda batch: (batch["x"], batch["y"])) for one in data]
    theirs = theirs_process.next(theirs, pairs).state
    ours = ours_process.next(ours, _clients(data)).state
  expected = flatten(theirs.global_model_weights.trainable).numpy()
  return float(np.max(np.abs(ours.global_model_weights - expected)))


def _by_hand() -> float:
  """Runs a round that was worked out on paper.

  y = w x with w = (1, 2), a step of rate 0.25. Client 0, three examples:
  x = (1, 0), y = 3, gradient 2 (1 - 3) (1, 0) = (-4, 0), so w becomes (2, 2).
  Client 1, one example: x = (0, 2), y = 2, gradient 2 (4 - 2) (0, 2) = (0, 8),
  so w becomes (1, 0). Weighted by 3 and 1: (1.75, 1.5).
  """

  def model() -> tf.keras.Model:
    inputs = tf.keras.Input([2])
    outputs = tf.keras.layers.Dense(1, use_bias=False, name="out")(inputs)
    return tf.keras.Model(inputs, outputs)

  def examples(x: list[float], y: float, copies: int) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensors(
      OrderedDict(
        x=np.array([x] * copies, np.float32),
        y=np.array([[y]] * copies, np.float32),
      )
    )

  batch = OrderedDict(
    x=tf.TensorSpec([None, 2], tf.float32),
    y=tf.TensorSpec([None, 1], tf.float32),
  )
  process = _process(model, batch, rate=0.25)
  state = _begin(process, np.array([1, 2], np.float32))
  data = [examples([1, 0], 3, 3), examples([0, 2], 2, 1)]
  found = process.next(state, _clients(data)).state.global_model_weights
  return float(np.max(np.abs(found - np.array([1.75, 1.5]))))


def _process(model, batch, rate=_RATE):
  specs = variable_specs(model())
  everything = RandomUnits(SubModel(specs, (), {}), 0, "client")
  return build_federated_process(
    specs,
    one_tier(everything, 3),
    [
      LocalTraining(
        model,
        _squared_error,
        _OPTIMIZERS.build_sgdm(rate),
        lambda round_number: tf.constant(rate),
        clip_norm=None,
        seed=0,
      )
    ],
    batch,
    server_optimizer=_OPTIMIZERS.build_sgdm(1.0),
    server_learning_rate=lambda round_number: tf.constant(1.0),
  )


def _begin(process, weights):
  return process.initialize()._replace(global_model_weights=weights)


def _clients(data):
  return [
    OrderedDict(client=np.array([client], np.int32), batches=batches)
    for client, batches in enumerate(data)
  ]


def _squared_error(model, batch):
  outputs = model(batch["x"], training=True)
  return tf.reduce_mean(tf.math.squared_difference(outputs, batch["y"]))


def _noise(seed: int, steps: int) -> tf.data.Dataset:
  draw = np.random.default_rng(seed)
  return tf.data.Dataset.from_tensor_slices(
    OrderedDict(
      x=draw.normal(size=[4 * steps, _FEATURES]).astype(np.float32),
      y=draw.normal(size=[4 * steps, 1]).astype(np.float32),
    )
  ).batch(4)

"""The same client steps, run by different programs."""

import collections
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl.dropout.selection import RandomUnits
from fl.dropout.sub_model import SubModel, flatten, variable_specs
from fl.processes.client_work import LocalTraining
from fl.processes.compose import build_federated_process
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.training.ctc_objective import ctc_objective

Round = Callable[[], None]
_RATE = 1e-3
_CLIP_NORM = 1.0
_MEL_BINS = 80
_LABELS = 20


def random_clients(
  clients: int, steps: int, batch_size: int, frames: int
) -> list[tf.data.Dataset]:
  """Returns a data set of `steps` batches for each client."""
  draw = np.random.default_rng(0)
  shape = [steps, batch_size]
  return [
    tf.data.Dataset.from_tensor_slices(
      collections.OrderedDict(
        features=draw.normal(size=[*shape, frames, _MEL_BINS]).astype("f4"),
        label_lengths=np.full(shape, _LABELS, np.int32),
        labels=draw.integers(1, 20, [*shape, _LABELS], np.int32),
        lengths=np.full(shape, frames, np.int32),
      )
    )
    for _ in range(clients)
  ]


def batch_spec() -> collections.OrderedDict[str, tf.TensorSpec]:
  """What the clients' data sets are made of."""
  return collections.OrderedDict(
    features=tf.TensorSpec([None, None, _MEL_BINS], tf.float32),
    label_lengths=tf.TensorSpec([None], tf.int32),
    labels=tf.TensorSpec([None, None], tf.int32),
    lengths=tf.TensorSpec([None], tf.int32),
  )


def _client_optimizer() -> tff.learning.optimizers.Optimizer:
  return tff.learning.optimizers.build_adam(_RATE, epsilon=1e-5)


def plain_loop(
  config: ConformerConfig, clients: Sequence[tf.data.Dataset]
) -> Round:
  """A `tf.function` for each client, one after another, and a mean: the limit.

  Nothing is sent, checked or kept.
  """
  model = build_ctc_model(config)
  variables = tuple(model.trainable_variables)
  optimizer = _client_optimizer()

  @tf.function(reduce_retracing=True)
  def train(initial, batches):
    for variable, value in zip(variables, initial, strict=True):
      variable.assign(value)
    state = optimizer.initialize(
      tuple(tf.TensorSpec(v.shape, v.dtype) for v in variables)
    )
    # In a graph, an iterator is five times as fast as the data set itself.
    for batch in iter(batches):
      with tf.GradientTape() as tape:
        loss = ctc_objective(model, batch)
      gradients = tape.gradient(loss, variables)
      gradients, _ = tf.clip_by_global_norm(gradients, _CLIP_NORM)
      state, values = optimizer.next(
        state,
        tuple(variable.read_value() for variable in variables),
        tuple(gradients),
      )
      for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return [variable.read_value() for variable in variables]

  weights = [variable.numpy() for variable in variables]

  def run_round() -> None:
    nonlocal weights
    trained = [train(weights, batches) for batches in clients]
    weights = [
      tf.add_n(values) / len(clients) for values in zip(*trained, strict=True)
    ]

  return run_round


def ours(config: ConformerConfig, clients: Sequence[tf.data.Dataset]) -> Round:
  """A round of this project, nothing dropped."""
  model = build_ctc_model(config)
  specs = variable_specs(model)
  weights = flatten(model.trainable_variables).numpy()
  process = build_federated_process(
    specs,
    RandomUnits(SubModel(specs, [], {}), 0, "client"),
    LocalTraining(
      build_model=lambda: build_ctc_model(config),
      objective=ctc_objective,
      optimizer=_client_optimizer(),
      learning_rate=lambda round_number: tf.constant(_RATE),
      clip_norm=_CLIP_NORM,
      seed=0,
    ),
    batch_spec(),
    len(clients),
    tff.learning.optimizers.build_sgdm(1.0),
    lambda round_number: tf.constant(1.0),
  )
  state = process.initialize()._replace(global_model_weights=weights)
  arguments = [
    collections.OrderedDict(client=np.array([number], np.int32), batches=data)
    for number, data in enumerate(clients)
  ]

  def run_round() -> None:
    nonlocal state
    state = process.next(state, arguments).state

  return run_round


def stock(config: ConformerConfig, clients: Sequence[tf.data.Dataset]) -> Round:
  """TFF's federated averaging with its defaults."""
  process = tff.learning.algorithms.build_weighted_fed_avg(
    lambda: _StockModel(config),
    client_optimizer_fn=_client_optimizer(),
    server_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0),
  )
  state = process.initialize()

  def run_round() -> None:
    nonlocal state
    state = process.next(state, list(clients)).state

  return run_round


class _StockModel(tff.learning.models.VariableModel):
  """The speech model as TFF's stock processes want it."""

  def __init__(self, config: ConformerConfig) -> None:
    self._model = build_ctc_model(config)

  @property
  def trainable_variables(self) -> list[tf.Variable]:
    """All of the model's."""
    return self._model.trainable_variables

  @property
  def non_trainable_variables(self) -> list[tf.Variable]:
    """None."""
    return []

  @property
  def local_variables(self) -> list[tf.Variable]:
    """None: no metrics."""
    return []

  @property
  def input_spec(self) -> Any:
    """That of a batch."""
    return batch_spec()

  def predict_on_batch(self, batch_input: Any, training: bool = True) -> Any:
    """Returns the logits."""
    return self._model(
      [batch_input["features"], batch_input["lengths"]], training=training
    )

  def forward_pass(
    self, batch_input: Any, training: bool = True
  ) -> tff.learning.models.BatchOutput:
    """Returns the loss."""
    return tff.learning.models.BatchOutput(
      loss=ctc_objective(self._model, batch_input),
      predictions=None,
      num_examples=tf.shape(batch_input["lengths"])[0],
    )

  def report_local_unfinalized_metrics(self) -> Any:
    """Returns none."""
    return collections.OrderedDict()

  def metric_finalizers(self) -> Any:
    """Returns none."""
    return collections.OrderedDict()

  def reset_metrics(self) -> None:
    """There are none."""

"""Rounds in TensorFlow Federated: this project's, and TFF's own as it comes."""

import collections
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from benchmarks.systems.turns import Turns
from benchmarks.systems.workload import (
  CLIP_NORM,
  EPSILON,
  LEARNING_RATE,
  MEL_BINS,
  Workload,
)
from fl.dropout.selection import RandomUnits
from fl.dropout.sub_model import SubModel, flatten, variable_specs
from fl.dropout.tiers import one_tier
from fl.processes.client_work import LocalTraining
from fl.processes.compose import build_federated_process
from fl.runtime.heap import give_back_freed_memory
from fl.runtime.local import local_runtime
from fl.runtime.remote import Address, remote_runtime
from fl.runtime.worker import LOOPBACK, Worker
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.presets import PRESETS
from lingvo_lite.training.ctc_objective import ctc_objective

Round = Callable[[], None]
# Of the watch over memory: a model as in a real run, but hardly any work.
_WATCHED_STEPS = 3
_WATCHED_FRAMES = (32, 48, 64)


def batch_spec() -> collections.OrderedDict[str, tf.TensorSpec]:
  """What the clients' data sets are made of."""
  return collections.OrderedDict(
    features=tf.TensorSpec([None, None, MEL_BINS], tf.float32),
    label_lengths=tf.TensorSpec([None], tf.int32),
    labels=tf.TensorSpec([None, None], tf.int32),
    lengths=tf.TensorSpec([None], tf.int32),
  )


def ours(
  model: tf.keras.Model, config: ConformerConfig, clients: int
) -> Callable[[Sequence[Any]], np.ndarray]:
  """Builds this project's process, nothing dropped.

  Args:
    model: with the weights to begin with; unusable afterwards.
    config: of the model.
    clients: how many there are.

  Returns:
    What runs a round, given each client's data set, and returns the weights,
    float32[P].
  """
  specs = variable_specs(model)
  weights = flatten(model.trainable_variables).numpy()
  process = build_federated_process(
    specs,
    one_tier(RandomUnits(SubModel(specs, [], {}), 0, "client"), clients),
    [
      LocalTraining(
        build_model=lambda: build_ctc_model(config),
        objective=ctc_objective,
        optimizer=_client_optimizer(),
        learning_rate=lambda round_number: tf.constant(LEARNING_RATE),
        clip_norm=CLIP_NORM,
        seed=0,
      )
    ],
    batch_spec(),
    tff.learning.optimizers.build_sgdm(1.0),
    lambda round_number: tf.constant(1.0),
  )
  state = process.initialize()._replace(global_model_weights=weights)

  def run_round(data: Sequence[tf.data.Dataset]) -> np.ndarray:
    nonlocal state
    arguments = [
      collections.OrderedDict(client=np.array([number], np.int32), batches=each)
      for number, each in enumerate(data)
    ]
    state = process.next(state, arguments).state
    return state.global_model_weights

  return run_round


def stock(config: ConformerConfig) -> Callable[[Sequence[Any]], None]:
  """Builds TFF's federated averaging with its defaults; as `ours`."""
  process = tff.learning.algorithms.build_weighted_fed_avg(
    lambda: _StockModel(config),
    client_optimizer_fn=_client_optimizer(),
    server_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0),
  )
  state = process.initialize()

  def run_round(data: Sequence[tf.data.Dataset]) -> None:
    nonlocal state
    state = process.next(state, list(data)).state

  return run_round


def watched(preset: str, clients: int) -> Round:
  """Builds rounds of `ours` with other amounts of data each time."""
  config = PRESETS[preset]
  run = ours(build_ctc_model(config), config, clients)
  draw = np.random.default_rng(0)

  def run_round() -> None:
    run(
      [
        tf.data.Dataset.from_tensor_slices(
          Workload(
            preset,
            clients,
            int(draw.integers(1, _WATCHED_STEPS + 1)),
            1,
            int(draw.choice(_WATCHED_FRAMES)),
          ).batches(client)
        )
        for client in range(clients)
      ]
    )
    # As `FederatedProgram` does.
    give_back_freed_memory()

  return run_round


@contextlib.contextmanager
def workers_of_a_core(count: int) -> Iterator[None]:
  """Makes TFF's context so many workers, as on machines of a single core."""
  with contextlib.ExitStack() as stack:
    workers = [
      stack.enter_context(
        contextlib.closing(Worker(concurrent_calls=1, threads_per_call=1))
      )
      for _ in range(count)
    ]
    stack.enter_context(
      remote_runtime([Address(LOOPBACK, worker.port) for worker in workers])
    )
    yield


def _client_optimizer() -> tff.learning.optimizers.Optimizer:
  return tff.learning.optimizers.build_adam(LEARNING_RATE, epsilon=EPSILON)


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


def _runtime(system: str, workers: int) -> contextlib.AbstractContextManager:
  if workers:
    return workers_of_a_core(workers)
  # TFF's own comes with its own.
  return contextlib.nullcontext() if system == "stock" else local_runtime()


def _serve(workload: Workload, system: str, workers: int) -> None:
  turns = Turns()
  with _runtime(system, workers):
    if system == "watched":
      turns.serve(watched(workload.preset, workload.clients))
    config = PRESETS[workload.preset]
    run = (
      ours(build_ctc_model(config), config, workload.clients)
      if system == "ours"
      else stock(config)
    )
    data = [
      tf.data.Dataset.from_tensor_slices(
        collections.OrderedDict(workload.batches(client))
      )
      for client in range(workload.clients)
    ]
    turns.serve(lambda: run(data))


if __name__ == "__main__":
  _serve(
    Workload.from_argument(sys.argv[1]),
    system=sys.argv[2],
    workers=int(sys.argv[3]) if len(sys.argv) > 3 else 0,
  )

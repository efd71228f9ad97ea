"""Rounds of pfl-research's simulation, in an environment of its own."""

import sys
from typing import Any

import tensorflow as tf
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam.base import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.tensorflow import TFModel

from benchmarks.systems.turns import Turns
from benchmarks.systems.workload import (
  CLIP_NORM,
  EPSILON,
  LEARNING_RATE,
  Workload,
)
from lingvo_lite.losses.ctc import ctc_loss
from lingvo_lite.models.ctc_model import build_ctc_model, subsampled_lengths
from lingvo_lite.models.presets import PRESETS

# There will be as many as are asked for.
_ROUNDS = 10**6


class _Turn(TrainingProcessCallback):
  """Ends a round, and begins another when one is asked for."""

  def __init__(self, turns: Turns) -> None:
    self._turns = turns

  def on_train_begin(self, *, model: Any) -> Metrics:
    """Waits for the first round."""
    self._turns.wait()
    return Metrics()

  def after_central_iteration(self, *arguments: Any, **named: Any) -> Any:
    """Reports a round, and waits for the next."""
    self._turns.done()
    self._turns.wait()
    return False, Metrics()


def _loss(labels: Any, logits: tf.Tensor) -> tf.Tensor:
  """Returns what `ctc_objective` does, from pfl-research's arguments."""
  transcripts, label_lengths, lengths = labels
  losses = ctc_loss(
    transcripts, label_lengths, logits, subsampled_lengths(lengths)
  )
  return tf.reduce_sum(losses) / tf.cast(
    tf.reduce_sum(label_lengths), losses.dtype
  )


def _user(workload: Workload, client: int) -> Dataset:
  batches = {
    name: tf.constant(value.reshape([-1, *value.shape[2:]]))
    for name, value in workload.batches(client).items()
  }
  return Dataset(
    (
      [batches["features"], batches["lengths"]],
      [batches["labels"], batches["label_lengths"], batches["lengths"]],
    ),
    user_id=str(client),
  )


def serve(workload: Workload) -> None:
  """Runs rounds in which all clients take part, for as long as asked for."""
  turns = Turns()
  model = build_ctc_model(PRESETS[workload.preset])
  model.loss = _loss
  model.optimizer = tf.keras.optimizers.legacy.Adam(
    LEARNING_RATE, epsilon=EPSILON
  )
  users = {
    client: _user(workload, client) for client in range(workload.clients)
  }
  FederatedAveraging().run(
    algorithm_params=NNAlgorithmParams(
      central_num_iterations=_ROUNDS,
      evaluation_frequency=_ROUNDS,
      train_cohort_size=workload.clients,
      val_cohort_size=0,
    ),
    backend=SimulatedBackend(
      FederatedDataset(
        users.__getitem__, get_user_sampler("minimize_reuse", list(users))
      ),
      None,
    ),
    model=TFModel(
      model, metrics={}, central_optimizer=tf.keras.optimizers.legacy.SGD(1.0)
    ),
    model_train_params=NNTrainHyperParams(
      local_batch_size=workload.batch_size,
      local_num_epochs=1,
      local_learning_rate=LEARNING_RATE,
      local_max_grad_norm=CLIP_NORM,
    ),
    callbacks=[_Turn(turns)],
  )


if __name__ == "__main__":
  serve(Workload.from_argument(sys.argv[1]))

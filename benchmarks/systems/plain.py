"""A plain training loop over clients: the limit of what a round can take.

Nothing is sent, checked or kept: clients train one after another in this very
process, or a few at a time in its threads, and their weights are averaged.
"""

import concurrent.futures
import os
import queue
import sys
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from benchmarks.systems.turns import Turns
from benchmarks.systems.workload import (
  CLIP_NORM,
  EPSILON,
  LEARNING_RATE,
  Workload,
)
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.presets import PRESETS
from lingvo_lite.training.ctc_objective import ctc_objective

Weights = Sequence[np.ndarray]
_BETA_1, _BETA_2 = 0.9, 0.999


class PlainClient:
  """A model that is trained anew, by Adam, on one client after another.

  Args:
    config: of the model.
    loop: where a client's steps are counted: `graph`, in one `tf.function` for
      all of them, or `python`, around a `tf.function` of one step.
  """

  def __init__(self, config: ConformerConfig, loop: str) -> None:
    self._model = build_ctc_model(config)
    self._variables = self._model.trainable_variables
    self._moments = [
      (tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v)))
      for v in self._variables
    ]
    self._steps = tf.Variable(0.0)
    self._reset = tf.function(self._begin)
    if loop == "graph":
      self._train = tf.function(self._all_steps, reduce_retracing=True)
    else:
      step = tf.function(self._step, reduce_retracing=True)

      def train(batches: tf.data.Dataset) -> None:
        for batch in batches:
          step(batch)

      self._train = train

  @property
  def weights(self) -> list[np.ndarray]:
    """Those it has now."""
    return [variable.numpy() for variable in self._variables]

  def train(
    self, weights: Weights, batches: tf.data.Dataset
  ) -> list[np.ndarray]:
    """Returns the weights that a client has in the end.

    Args:
      weights: that it begins with.
      batches: of the client, as `ctc_objective` takes them.
    """
    self._reset(list(weights))
    self._train(batches)
    return self.weights

  def _begin(self, weights):
    for variable, value in zip(self._variables, weights, strict=True):
      variable.assign(value)
    for moment in tf.nest.flatten([*self._moments, self._steps]):
      moment.assign(tf.zeros_like(moment))

  def _all_steps(self, batches):
    # In a graph, an iterator is five times as fast as the data set itself.
    for batch in iter(batches):
      self._step(batch)

  def _step(self, batch):
    with tf.GradientTape() as tape:
      loss = ctc_objective(self._model, batch)
    gradients = tape.gradient(loss, self._variables)
    gradients, _ = tf.clip_by_global_norm(gradients, CLIP_NORM)
    self._steps.assign_add(1.0)
    for variable, (first, second), gradient in zip(
      self._variables, self._moments, gradients, strict=True
    ):
      tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=first.handle,
        v=second.handle,
        beta1_power=_BETA_1**self._steps,
        beta2_power=_BETA_2**self._steps,
        lr=LEARNING_RATE,
        beta1=_BETA_1,
        beta2=_BETA_2,
        epsilon=EPSILON,
        grad=gradient,
      )


def data_set(workload: Workload, client: int) -> tf.data.Dataset:
  """Returns a client's batches."""
  return tf.data.Dataset.from_tensor_slices(workload.batches(client))


def plain_rounds(workload: Workload, kind: str) -> Callable[[], None]:
  """Returns what runs a round of the kind: `graph`, `python` or `threads`."""
  count = len(os.sched_getaffinity(0)) if kind == "threads" else 1
  if count > 1:
    tf.config.threading.set_intra_op_parallelism_threads(1)
  trainers: queue.SimpleQueue[PlainClient] = queue.SimpleQueue()
  for _ in range(count):
    trainers.put(
      PlainClient(
        PRESETS[workload.preset], "graph" if kind == "graph" else "python"
      )
    )
  data = [data_set(workload, client) for client in range(workload.clients)]
  first = trainers.get()
  weights = first.weights
  trainers.put(first)
  pool = concurrent.futures.ThreadPoolExecutor(count)

  def train(batches: tf.data.Dataset) -> list[np.ndarray]:
    trainer = trainers.get()
    trained = trainer.train(weights, batches)
    trainers.put(trainer)
    return trained

  def run_round() -> None:
    nonlocal weights
    total = None
    for trained in pool.map(train, data):
      if total is None:
        total = trained
      else:
        for sum_so_far, value in zip(total, trained, strict=True):
          sum_so_far += value
    weights = [value / workload.clients for value in total or ()]

  return run_round


if __name__ == "__main__":
  _turns = Turns()
  _turns.serve(plain_rounds(Workload.from_argument(sys.argv[1]), sys.argv[2]))

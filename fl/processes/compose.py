"""Puts the four slots together into a federated training process."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl.dropout.sub_model import VariableSpec, flatten, unflatten
from fl.dropout.tiers import Tiers
from fl.processes.aggregation import (
  AggregationConfig,
  build_chosen_aggregator,
  upload_values_bytes,
)
from fl.processes.client_work import LocalTraining, Schedule, build_client_work
from fl.processes.distributor import build_distributor
from fl.processes.finalizer import build_finalizer
from fl.processes.messages import (
  client_message_type,
  server_message_type,
  type_bytes,
)


class FederatedProcess(tff.learning.templates.LearningProcess):
  """A learning process that knows what it sends.

  Attributes:
    tiers: which units each client gets.
    download_bytes_per_client: what a client of each tier receives each round.
    upload_bytes_per_client: what it sends.
  """

  tiers: Tiers
  download_bytes_per_client: tuple[int, ...]
  upload_bytes_per_client: tuple[int, ...]


def build_federated_process(
  specs: Sequence[VariableSpec],
  tiers: Tiers,
  trainings: Sequence[LocalTraining],
  batch_spec: Mapping[str, tf.TensorSpec],
  server_optimizer: tff.learning.optimizers.Optimizer,
  server_learning_rate: Schedule,
  aggregation: AggregationConfig = AggregationConfig(),
  cohort: int = 1,
) -> FederatedProcess:
  """Builds Federated Dropout; with nothing dropped it is federated averaging.

  `initialize`: ( -> LearningAlgorithmState@SERVER); the weights are zeros.
  `next`: (<LearningAlgorithmState@SERVER, {<client=int32[1],
  batches=Batch*>}@CLIENTS> -> <state, metrics>@SERVER)
  `get_model_weights`: (LearningAlgorithmState -> float32[P])

  Building it lays the clients' Keras models, which makes Keras models that were
  built earlier in the program unusable: build the process first.

  Args:
    specs: the full model's variables.
    tiers: which units each client gets, of all clients, sampled or not.
    trainings: what a client of each tier does.
    batch_spec: what a client's data set is made of.
    server_optimizer: applies the mean update.
    server_learning_rate: from the round number to that of the optimizer.
    aggregation: how one update is made of many.
    cohort: clients a round, which differential privacy divides by.

  Raises:
    InputError: the aggregation does not go with the selection.
  """
  params = tiers.server_params
  distributor = build_distributor(tiers)
  client_work = build_client_work(trainings, tiers, batch_spec)
  aggregator = build_chosen_aggregator(tiers, aggregation, cohort)
  finalizer = build_finalizer(server_optimizer, server_learning_rate, params)
  weights_type = tff.TensorType(np.float32, [params])

  @tff.tensorflow.computation
  def no_weights():
    return tf.zeros([params])

  @tff.federated_computation
  def initialize():
    return tff.federated_zip(
      tff.learning.templates.LearningAlgorithmState(
        tff.federated_eval(no_weights, tff.SERVER),
        distributor.initialize(),
        client_work.initialize(),
        aggregator.initialize(),
        finalizer.initialize(),
      )
    )

  clients_type = tff.to_type(
    OrderedDict(
      client=tff.TensorType(np.int32, [1]),
      batches=client_work.next.type_signature.parameter[3].member,
    )
  )

  @tff.federated_computation(
    initialize.type_signature.result,
    tff.FederatedType(clients_type, tff.CLIENTS),
  )
  def next_fn(state, clients):
    sent = distributor.next(
      state.distributor, state.global_model_weights, clients["client"]
    )
    worked = client_work.next(
      state.client_work, sent.result, clients["client"], clients["batches"]
    )
    mean = aggregator.next(state.aggregator, worked.result)
    final = finalizer.next(
      state.finalizer, state.global_model_weights, mean.result
    )
    return tff.learning.templates.LearningProcessOutput(
      tff.federated_zip(
        tff.learning.templates.LearningAlgorithmState(
          final.result, sent.state, worked.state, mean.state, final.state
        )
      ),
      tff.federated_zip(
        OrderedDict(
          distributor=sent.measurements,
          client_work=worked.measurements,
          aggregator=mean.measurements,
          finalizer=final.measurements,
        )
      ),
    )

  state_type = initialize.type_signature.result.member
  shapes = [spec.shape for spec in specs]

  @tff.tensorflow.computation(state_type)
  def get_model_weights(state):
    return tuple(unflatten(state.global_model_weights, shapes))

  @tff.tensorflow.computation(
    state_type, get_model_weights.type_signature.result
  )
  def set_model_weights(state, weights):
    flat = tf.ensure_shape(flatten(list(weights)), weights_type.shape)
    return state._replace(global_model_weights=flat)

  process = FederatedProcess(
    initialize, next_fn, get_model_weights, set_model_weights
  )
  process.tiers = tiers
  sizes = [s.sub_model.client_params for s in tiers.selections]
  process.download_bytes_per_client = tuple(
    type_bytes(server_message_type(size)) for size in sizes
  )
  process.upload_bytes_per_client = tuple(
    type_bytes(client_message_type(0)) + upload_values_bytes(aggregation, size)
    for size in sizes
  )
  return process

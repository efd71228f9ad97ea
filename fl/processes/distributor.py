"""Hands each client its sub-model's weights."""

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl.dropout.tiers import Tiers
from fl.processes.messages import ServerMessage


def build_distributor(tiers: Tiers) -> tff.templates.MeasuredProcess:
  """Builds the distributor slot.

  `initialize`: ( -> int32@SERVER), the round number.
  `next`: (<int32@SERVER, float32[P]@SERVER, {int32[1]}@CLIENTS> ->
  <state=int32@SERVER, result=ServerMessage@CLIENTS, measurements=<>@SERVER>)

  The server cuts the slices out; a client receives nothing else.

  Args:
    tiers: who gets which units, of all clients, sampled or not.
  """
  weights_type = tff.TensorType(np.float32, [tiers.server_params])
  database_type = tff.to_type((weights_type, np.int32))

  @tff.federated_computation
  def initialize():
    return tff.federated_value(np.int32(0), tff.SERVER)

  @tff.tensorflow.computation(database_type, np.int32)
  def select(database, client):
    weights, round_number = database
    return tiers.extract(weights, round_number, client)

  @tff.tensorflow.computation(np.int32)
  def increment(round_number):
    return round_number + tf.constant(1)

  @tff.federated_computation(
    initialize.type_signature.result,
    tff.FederatedType(weights_type, tff.SERVER),
    tff.FederatedType(tff.TensorType(np.int32, [1]), tff.CLIENTS),
  )
  def next_fn(round_number, weights, clients):
    last = np.int32(len(tiers.of_client) - 1)
    largest = tff.federated_value(last, tff.SERVER)
    slices = tff.federated_select(
      clients, largest, tff.federated_zip((weights, round_number)), select
    )
    message = tff.federated_zip(
      ServerMessage(slices, tff.federated_broadcast(round_number))
    )
    return tff.templates.MeasuredProcessOutput(
      state=tff.federated_map(increment, round_number),
      result=message,
      measurements=tff.federated_value((), tff.SERVER),
    )

  return tff.templates.MeasuredProcess(initialize, next_fn)

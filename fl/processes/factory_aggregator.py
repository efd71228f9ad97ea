"""Averages sub-models' updates with any of TFF's aggregators."""

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl.dropout.selection import UnitSelection
from fl.processes.aggregator import MeanUpdate
from fl.processes.messages import client_message_type


def build_factory_aggregator(
  selection: UnitSelection, factory: tff.aggregators.AggregationFactory
) -> tff.templates.MeasuredProcess:
  """Builds the aggregator slot around one of TFF's aggregators.

  `initialize`: ( -> <round_number=int32, inner=S>@SERVER)
  `next`: (<<int32, S>@SERVER, ClientMessage@CLIENTS> -> <state=<int32,
  S>@SERVER, result=MeanUpdate@SERVER,
  measurements=<held_fraction=float32>@SERVER>)

  What TFF's aggregator sees is a vector of the sub-model's size from each
  client, all over the same coordinates; what it makes of them is put into the
  full model's places afterwards, on the server.

  Args:
    selection: who held which units: the same ones for all clients of a round.
    factory: weighted, by the clients' examples, or unweighted.

  Raises:
    ValueError: clients of a round may hold different units.
  """
  sub_model = selection.sub_model
  if not selection.is_shared and not sub_model.is_whole:
    raise ValueError("TFF's aggregators need one selection for all clients")
  update_type = tff.TensorType(np.float32, [sub_model.client_params])
  weight_type = tff.TensorType(np.float32)
  weighted = isinstance(factory, tff.aggregators.WeightedAggregationFactory)
  inner = (
    factory.create(update_type, weight_type)
    if weighted
    else factory.create(update_type)
  )
  message_type = client_message_type(sub_model.client_params)

  @tff.tensorflow.computation(update_type, np.int32)
  def put_back(update, round_number):
    units = selection.units(round_number, tf.constant(0))
    zeros = tf.zeros([sub_model.server_params])
    # A weighted mean of nobody is 0 / 0.
    update = tf.where(tf.math.is_finite(update), update, 0.0)
    update, held = sub_model.scatter_add(
      [zeros, zeros], [update, tf.ones_like(update)], units
    )
    return MeanUpdate(update, held > 0)

  @tff.tensorflow.computation(put_back.type_signature.result)
  def held_fraction(mean):
    return {"held_fraction": tf.reduce_mean(tf.cast(mean.held, tf.float32))}

  @tff.tensorflow.computation(np.int32)
  def increment(round_number):
    return round_number + 1

  @tff.federated_computation
  def initialize():
    return tff.federated_zip(
      {
        "round_number": tff.federated_value(np.int32(0), tff.SERVER),
        "inner": inner.initialize(),
      }
    )

  @tff.federated_computation(
    initialize.type_signature.result,
    tff.FederatedType(message_type, tff.CLIENTS),
  )
  def next_fn(state, messages):
    arguments = (messages.update, messages.weight)[: 2 if weighted else 1]
    output = inner.next(state["inner"], *arguments)
    mean = tff.federated_map(put_back, (output.result, state["round_number"]))
    return tff.templates.MeasuredProcessOutput(
      state=tff.federated_zip(
        {
          "round_number": tff.federated_map(increment, state["round_number"]),
          "inner": output.state,
        }
      ),
      result=mean,
      measurements=tff.federated_map(held_fraction, mean),
    )

  return tff.templates.MeasuredProcess(initialize, next_fn)

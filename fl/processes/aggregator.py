"""Averages the clients' slices, coordinate by coordinate."""

from typing import NamedTuple

import tensorflow as tf
import tensorflow_federated as tff

from fl.dropout.tiers import Tiers
from fl.processes.messages import client_message_type


class MeanUpdate(NamedTuple):
  """What the server learned in a round.

  Attributes:
    update: float32[P], the mean over the clients that held a coordinate,
      weighted by their examples; 0 where nobody did.
    held: bool[P], whether anybody held it.
  """

  update: tf.Tensor
  held: tf.Tensor


class _Sums(NamedTuple):
  """The accumulator: sums over clients, float32[P] each."""

  updates: tf.Tensor
  weights: tf.Tensor


def build_aggregator(tiers: Tiers) -> tff.templates.MeasuredProcess:
  """Builds the aggregator slot.

  `initialize`: ( -> <>@SERVER)
  `next`: (<<>@SERVER, ClientMessage@CLIENTS> -> <state=<>@SERVER,
  result=MeanUpdate@SERVER, measurements=<held_fraction=float32>@SERVER>)

  update[i] = sum_c w_c d_c[i] / sum_c w_c, over the clients c that held i.

  Args:
    tiers: who held which units.
  """
  message_type = client_message_type(tiers.client_params)

  @tff.tensorflow.computation
  def zero():
    zeros = tf.zeros([tiers.server_params])
    return _Sums(zeros, zeros)

  sums_type = zero.type_signature.result

  @tff.tensorflow.computation(sums_type, message_type)
  def accumulate(sums, message):
    updates, weights = tiers.scatter_add(
      [sums.updates, sums.weights],
      [
        message.update * message.weight,
        tf.fill(tf.shape(message.update), message.weight),
      ],
      message.round_number,
      message.client,
    )
    return _Sums(updates, weights)

  @tff.tensorflow.computation(sums_type, sums_type)
  def merge(one, other):
    return _Sums(one.updates + other.updates, one.weights + other.weights)

  @tff.tensorflow.computation(sums_type)
  def report(sums):
    held = sums.weights > 0
    mean = sums.updates / tf.where(held, sums.weights, 1.0)
    return MeanUpdate(tf.where(held, mean, 0.0), held)

  @tff.tensorflow.computation(report.type_signature.result)
  def held_fraction(mean):
    return {"held_fraction": tf.reduce_mean(tf.cast(mean.held, tf.float32))}

  @tff.federated_computation
  def initialize():
    return tff.federated_value((), tff.SERVER)

  @tff.federated_computation(
    initialize.type_signature.result,
    tff.FederatedType(message_type, tff.CLIENTS),
  )
  def next_fn(state, messages):
    mean = tff.federated_aggregate(messages, zero(), accumulate, merge, report)
    return tff.templates.MeasuredProcessOutput(
      state=state,
      result=mean,
      measurements=tff.federated_map(held_fraction, mean),
    )

  return tff.templates.MeasuredProcess(initialize, next_fn)

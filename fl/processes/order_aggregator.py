"""Averages that a few dishonest clients cannot move far."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl.dropout.tiers import Tiers
from fl.processes.aggregator import MeanUpdate
from fl.processes.messages import client_message_type


class _Collected(NamedTuple):
  """The accumulator: a row for each client, updates float32[n, p]."""

  updates: tf.Tensor
  rounds: tf.Tensor
  clients: tf.Tensor


def trimmed_mean(
  values: tf.Tensor, held: tf.Tensor, trim_fraction: float
) -> tf.Tensor:
  """Returns each column's mean without its largest and smallest values.

  floor(trim_fraction * m) of a column's m values are left out at either end,
  and (m - 1) // 2 at most: 0.5 gives the median.

  Args:
    values: float32[n, P].
    held: bool[n, P], which of them count.
    trim_fraction: in [0, 0.5].

  Returns:
    float32[P]; 0 where nothing counts.

  Reference:
    Yin et al. 2018, "Byzantine-Robust Distributed Learning: Towards Optimal
    Statistical Rates", definitions 1 and 2.
  """
  count = tf.reduce_sum(tf.cast(held, tf.int32), 0)
  # Those that do not count come last.
  ordered = tf.sort(tf.where(held, values, np.inf), 0)
  trim = tf.cast(tf.floor(trim_fraction * tf.cast(count, tf.float32)), tf.int32)
  trim = tf.minimum(trim, tf.maximum((count - 1) // 2, 0))
  rank = tf.range(tf.shape(values)[0])[:, tf.newaxis]
  kept = (rank >= trim) & (rank < count - trim)
  total = tf.reduce_sum(tf.where(kept, ordered, 0.0), 0)
  return total / tf.cast(tf.maximum(count - 2 * trim, 1), tf.float32)


def build_order_aggregator(
  tiers: Tiers, trim_fraction: float
) -> tff.templates.MeasuredProcess:
  """Builds the aggregator slot with a trimmed mean, or the median.

  `initialize`: ( -> <>@SERVER)
  `next`: (<<>@SERVER, ClientMessage@CLIENTS> -> <state=<>@SERVER,
  result=MeanUpdate@SERVER, measurements=<held_fraction=float32>@SERVER>)

  Each coordinate is averaged over the clients that held it, all with the same
  weight: what a client says about its amount of data is not to be trusted
  either.
  The server keeps all updates of a round at once, n x P values; those of narrow
  tiers have zeros at their end until then.

  Args:
    tiers: who held which units.
    trim_fraction: see `trimmed_mean`; 0.5 is the median.
  """
  params = tiers.largest_client_params
  message_type = client_message_type(tiers.client_params)
  collected_type = tff.to_type(
    _Collected(
      tff.TensorType(np.float32, [None, params]),
      tff.TensorType(np.int32, [None]),
      tff.TensorType(np.int32, [None]),
    )
  )

  @tff.tensorflow.computation
  def nobody():
    # The shape must not be known, or TFF takes it for that of every state.
    none = tf.random.uniform([], 0, 1, tf.int32)
    numbers = tf.zeros([none], tf.int32)
    return _Collected(tf.zeros([none, params]), numbers, numbers)

  @tff.tensorflow.computation(collected_type, message_type)
  def accumulate(collected, message):
    # One that was turned down adds no row.
    rows = tf.cast(message.weight > 0, tf.int32)
    update = tf.pad(message.update, [[0, params - tf.size(message.update)]])
    update = tf.ensure_shape(update, [params])
    return _Collected(
      tf.concat([collected.updates, update[tf.newaxis][:rows]], 0),
      tf.concat([collected.rounds, message.round_number[tf.newaxis][:rows]], 0),
      tf.concat([collected.clients, message.client[tf.newaxis][:rows]], 0),
    )

  @tff.tensorflow.computation(collected_type, collected_type)
  def merge(one, other):
    return _Collected(
      *(tf.concat(pair, 0) for pair in zip(one, other, strict=True))
    )

  @tff.tensorflow.computation(collected_type)
  def report(collected):
    zeros = tf.zeros([tiers.server_params])

    def put_back(row):
      update, round_number, client = row
      return tuple(
        tiers.scatter_add(
          [zeros, zeros], [update, tf.ones_like(update)], round_number, client
        )
      )

    updates, counts = tf.map_fn(
      put_back,
      tuple(collected),
      fn_output_signature=(zeros.dtype, zeros.dtype),
    )
    size = [-1, tiers.server_params]
    held = tf.reshape(counts, size) > 0
    mean = trimmed_mean(tf.reshape(updates, size), held, trim_fraction)
    return MeanUpdate(mean, tf.reduce_any(held, 0))

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
    mean = tff.federated_aggregate(
      messages, nobody(), accumulate, merge, report
    )
    return tff.templates.MeasuredProcessOutput(
      state=state,
      result=mean,
      measurements=tff.federated_map(held_fraction, mean),
    )

  return tff.templates.MeasuredProcess(initialize, next_fn)

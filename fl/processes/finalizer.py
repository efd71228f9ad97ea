"""Applies what a round taught to the server's model."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl.processes.aggregator import MeanUpdate

_LEARNING_RATE = tff.learning.optimizers.LEARNING_RATE_KEY


def build_finalizer(
  optimizer: tff.learning.optimizers.Optimizer,
  learning_rate: Callable[[tf.Tensor], tf.Tensor],
  server_params: int,
) -> tff.templates.MeasuredProcess:
  """Builds the finalizer slot: one step of the server's optimizer.

  `initialize`: ( -> <optimizer=S, round_number=int32>@SERVER)
  `next`: (<<S, int32>@SERVER, float32[P]@SERVER, MeanUpdate@SERVER> ->
  <state=<S, int32>@SERVER, result=float32[P]@SERVER,
  measurements=<update_norm=float32>@SERVER>)

  Coordinates that nobody held stay, and so do their moments: a moving average
  must not decay towards zero for want of news.

  Args:
    optimizer: TFF's; a client's update is its gradient.
    learning_rate: from the round number, int32[], to that of the optimizer.
    server_params: P.
  """
  weights_type = tff.TensorType(np.float32, [server_params])

  @tff.tensorflow.computation
  def initial_state():
    state = optimizer.initialize(tf.TensorSpec([server_params], tf.float32))
    return {"optimizer": state, "round_number": tf.constant(0)}

  state_type = initial_state.type_signature.result

  @tff.tensorflow.computation(
    state_type,
    weights_type,
    tff.to_type(
      MeanUpdate(weights_type, tff.TensorType(np.bool_, [server_params]))
    ),
  )
  def step(state, weights, mean):
    before = dict(state["optimizer"])
    before[_LEARNING_RATE] = learning_rate(state["round_number"])
    after, stepped = optimizer.next(before, weights, mean.update)

    def where_held(new, old):
      new = tf.convert_to_tensor(new)
      per_weight = new.shape == [server_params]
      return tf.where(mean.held, new, old) if per_weight else new

    after = type(state["optimizer"])(
      (name, where_held(after[name], before[name]))
      for name in state["optimizer"]
    )
    return (
      {"optimizer": after, "round_number": state["round_number"] + 1},
      where_held(stepped, weights),
      {"update_norm": tf.norm(mean.update)},
    )

  @tff.federated_computation
  def initialize():
    return tff.federated_eval(initial_state, tff.SERVER)

  @tff.federated_computation(
    initialize.type_signature.result,
    tff.FederatedType(weights_type, tff.SERVER),
    tff.FederatedType(step.type_signature.parameter[2], tff.SERVER),
  )
  def next_fn(state, weights, mean):
    state, weights, measurements = tff.federated_map(
      step, (state, weights, mean)
    )
    return tff.templates.MeasuredProcessOutput(state, weights, measurements)

  return tff.templates.MeasuredProcess(initialize, next_fn)

"""What a client does with its sub-model: local training on its own data."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl.dropout.selection import fold_in
from fl.dropout.sub_model import flatten, unflatten
from fl.processes.messages import ClientMessage, ServerMessage
from fl.processes.seeded_dropout import StepSeed, with_seeded_dropout

BuildModel = Callable[[], tf.keras.Model]
Objective = Callable[[tf.keras.Model, dict[str, tf.Tensor]], tf.Tensor]
Schedule = Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class LocalTraining:
  """How a client trains.

  Attributes:
    build_model: makes the sub-model's graph; its weights are set.
    objective: from the model and a batch to the mean loss, float32[]; it calls
      the model with `training=True`.
    optimizer: starts anew at each client.
    learning_rate: from the round number, int32[], to that of the optimizer.
    clip_norm: largest global norm of a step's gradient; None: any.
    seed: of the dropout noise.
  """

  build_model: BuildModel
  objective: Objective
  optimizer: tff.learning.optimizers.Optimizer
  learning_rate: Schedule
  clip_norm: float | None
  seed: int


def build_client_work(
  training: LocalTraining,
  client_shapes: tuple[tuple[int, ...], ...],
  batch_spec: Mapping[str, tf.TensorSpec],
) -> tff.templates.MeasuredProcess:
  """Builds the client work slot.

  `initialize`: ( -> <>@SERVER)
  `next`: (<<>@SERVER, ServerMessage@CLIENTS, {int32[1]}@CLIENTS,
  {Batch*}@CLIENTS> -> <state=<>@SERVER, result=ClientMessage@CLIENTS,
  measurements=<loss=float32, rejected_clients=int32>@SERVER>)

  The model is built inside the computation, and trained by one graph: that way
  `training=True` is real.

  Args:
    training: how a client trains.
    client_shapes: of the sub-model's variables, in its order.
    batch_spec: what a client's data set is made of.
  """
  params = sum(int(np.prod(shape)) for shape in client_shapes)
  message_type = tff.to_type(
    ServerMessage(
      tff.SequenceType(tff.TensorType(np.float32, [params])),
      tff.TensorType(np.int32),
    )
  )
  key_type = tff.TensorType(np.int32, [1])
  batches_type = tff.SequenceType(tff.types.tensorflow_to_type(batch_spec))

  @tff.tensorflow.computation(message_type, key_type, batches_type)
  def work(message, key, batches):
    step_seed = StepSeed()
    model = with_seeded_dropout(training.build_model(), step_seed)
    found = tuple(tuple(v.shape.as_list()) for v in model.trainable_variables)
    if found != client_shapes or model.non_trainable_variables:
      raise ValueError(
        "build_model makes another model than the sub-model's shapes say"
      )
    return _train(training, model, step_seed, message, key[0], batches)

  @tff.tensorflow.computation(work.type_signature.result)
  def is_rejected(message):
    return tf.cast(tf.equal(message.weight, 0.0), tf.int32)

  @tff.federated_computation
  def initialize():
    return tff.federated_value((), tff.SERVER)

  @tff.federated_computation(
    initialize.type_signature.result,
    tff.FederatedType(message_type, tff.CLIENTS),
    tff.FederatedType(key_type, tff.CLIENTS),
    tff.FederatedType(batches_type, tff.CLIENTS),
  )
  def next_fn(state, message, keys, batches):
    sent = tff.federated_map(work, (message, keys, batches))
    measurements = tff.federated_zip(
      {
        "loss": tff.federated_mean(sent.loss, sent.weight),
        "rejected_clients": tff.federated_sum(
          tff.federated_map(is_rejected, sent)
        ),
      }
    )
    return tff.templates.MeasuredProcessOutput(state, sent, measurements)

  return tff.templates.MeasuredProcess(initialize, next_fn)


def _train(
  training: LocalTraining,
  model: tf.keras.Model,
  step_seed: StepSeed,
  message: ServerMessage,
  client: tf.Tensor,
  batches: tf.data.Dataset,
) -> ClientMessage:
  """Lays the graph of a client's whole training."""
  variables = tuple(model.trainable_variables)
  optimizer = training.optimizer

  # A tf.function, so that AutoGraph makes loops of the `for`s.
  @tf.function
  def train(weights, round_number, client, batches):
    initial = unflatten(
      next(iter(weights)),
      [variable.shape.as_list() for variable in variables],
    )
    for variable, value in zip(variables, initial, strict=True):
      variable.assign(value)
    seed = fold_in(training.seed, round_number, client)
    state = optimizer.initialize(
      tuple(tf.TensorSpec(v.shape, v.dtype) for v in variables)
    )
    state[tff.learning.optimizers.LEARNING_RATE_KEY] = training.learning_rate(
      round_number
    )
    step, examples, loss_sum = tf.constant(0), tf.constant(0), tf.constant(0.0)
    # An iterator, not the data set: AutoGraph turns a loop over the latter into
    # a dataset reduction, where each step takes five times as long.
    for batch in iter(batches):
      step_seed.variable.assign(
        tf.random.experimental.stateless_fold_in(seed, step)
      )
      with tf.GradientTape() as tape:
        loss = training.objective(model, batch)
      gradients = tape.gradient(loss, variables)
      if training.clip_norm is not None:
        gradients, _ = tf.clip_by_global_norm(gradients, training.clip_norm)
      state, values = optimizer.next(
        state,
        tuple(variable.read_value() for variable in variables),
        tuple(gradients),
      )
      for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
      step += 1
      examples += tf.shape(tf.nest.flatten(batch)[0])[0]
      loss_sum += loss
    update = flatten(
      [
        before - variable
        for before, variable in zip(initial, variables, strict=True)
      ]
    )
    finite = tf.reduce_all(tf.math.is_finite(update))
    return ClientMessage(
      update=tf.where(finite, update, tf.zeros_like(update)),
      weight=tf.where(finite, tf.cast(examples, tf.float32), 0.0),
      loss=tf.where(finite, loss_sum / tf.cast(step, tf.float32), 0.0),
      round_number=round_number,
      client=client,
    )

  return train(message.weights, message.round_number, client, batches)

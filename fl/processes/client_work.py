"""What a client does with its sub-model: local training on its own data."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl.dropout.selection import fold_in
from fl.dropout.sub_model import flatten, unflatten
from fl.dropout.tiers import Tiers
from fl.processes.admission import admit
from fl.processes.messages import (
  ClientMessage,
  Rejections,
  ServerMessage,
  server_message_type,
)
from fl.processes.seeded_dropout import StepSeed, with_seeded_dropout

BuildModel = Callable[[], tf.keras.Model]
Objective = Callable[[tf.keras.Model, dict[str, tf.Tensor]], tf.Tensor]
Gradients = Callable[
  [tf.keras.Model, dict[str, tf.Tensor], tf.Tensor],
  tuple[tf.Tensor, Sequence[tf.Tensor]],
]
Schedule = Callable[[tf.Tensor], tf.Tensor]
Sabotage = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


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
    seed: of the dropout noise and of the variational noise.
    proximal_strength: mu of FedProx: the gradient of mu/2 |w - w0|^2, with w0
      the weights received, is added to each step's (Li et al. 2020, "Federated
      Optimization in Heterogeneous Networks", equation 2); 0 is plain FedAvg.
    variational_noise: from the round number, int32[], to the standard deviation
      of the Gaussian noise on the weights in each step's forward pass, drawn
      anew for each client and step (Guliani et al. 2021, "Training Speech
      Recognition Models with Federated Learning"); None: none.
    max_update_norm: updates of a larger L2 norm are turned down.
    keep_zeros: whether zeros of matrices stay zeros; see `held_at_zero`.
    gradients: from the model, a batch and the step's seed, int32[2], to a loss,
      float32[], and its gradients; None: those of the objective.
    sabotage: from (update, round number, client) to the update that is sent, to
      see how training takes it; None: clients behave.
  """

  build_model: BuildModel
  objective: Objective
  optimizer: tff.learning.optimizers.Optimizer
  learning_rate: Schedule
  clip_norm: float | None
  seed: int
  proximal_strength: float = 0.0
  variational_noise: Schedule | None = None
  max_update_norm: float = math.inf
  keep_zeros: bool = False
  gradients: Gradients | None = None
  sabotage: Sabotage | None = None

  def loss_and_gradients(
    self, model: tf.keras.Model, batch: dict[str, tf.Tensor], seed: tf.Tensor
  ) -> tuple[tf.Tensor, Sequence[tf.Tensor]]:
    """Returns the loss of a step, float32[], and its gradients.

    Args:
      model: with the weights to begin with, and again afterwards.
      batch: of the step.
      seed: int32[2], of the step.
    """
    if self.gradients is not None:
      return self.gradients(model, batch, seed)
    with tf.GradientTape() as tape:
      loss = self.objective(model, batch)
    return loss, tape.gradient(loss, model.trainable_variables)


def build_client_work(
  trainings: Sequence[LocalTraining],
  tiers: Tiers,
  batch_spec: Mapping[str, tf.TensorSpec],
) -> tff.templates.MeasuredProcess:
  """Builds the client work slot.

  `initialize`: ( -> <>@SERVER)
  `next`: (<<>@SERVER, ServerMessage@CLIENTS, {int32[1]}@CLIENTS,
  {Batch*}@CLIENTS> -> <state=<>@SERVER, result=ClientMessage@CLIENTS,
  measurements=<loss=float32, steps=int32, rejected=Rejections>@SERVER>); with
  several tiers there are also <tier_clients=int32[K], tier_loss=float32[K]>, of
  those that were accepted.

  The models are built inside the computation, and trained by one graph: that
  way `training=True` is real.

  Args:
    trainings: how a client of each tier trains.
    tiers: which sub-models there are.
    batch_spec: what a client's data set is made of.
  """
  message_type = server_message_type(tiers.client_params)
  key_type = tff.TensorType(np.int32, [1])
  batches_type = tff.SequenceType(tff.types.tensorflow_to_type(batch_spec))

  @tff.tensorflow.computation(message_type, key_type, batches_type)
  def work(message, key, batches):
    step_seed = StepSeed()
    # Outside of the branches: variables are made once.
    models = []
    for training, selection in zip(trainings, tiers.selections, strict=True):
      model = with_seeded_dropout(training.build_model(), step_seed)
      found = tuple(tuple(v.shape.as_list()) for v in model.trainable_variables)
      shapes = selection.sub_model.client_shapes
      if found != shapes or model.non_trainable_variables:
        raise ValueError(
          "build_model makes another model than the sub-model's shapes say"
        )
      models.append(model)

    def of_tier(tier):
      return _train(
        trainings[tier], models[tier], step_seed, message, key[0], batches
      )

    return tiers.branch(key[0], of_tier)

  @tff.tensorflow.computation(np.int32, np.float32, np.float32)
  def in_its_tier(client, weight, loss):
    tier = tf.gather(tf.constant(tiers.of_client), client)
    place = tf.one_hot(tier, len(tiers.selections))
    return {
      "clients": tf.cast(place, tf.int32) * tf.cast(weight > 0, tf.int32),
      "weights": place * weight,
      "losses": place * weight * loss,
    }

  tiers_type = tff.TensorType(np.float32, [len(tiers.selections)])

  @tff.tensorflow.computation(tiers_type, tiers_type)
  def ratio(losses, weights):
    # Not a number where nobody came.
    return losses / weights

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
    measurements = {
      "loss": tff.federated_mean(sent.message.loss, sent.message.weight),
      "steps": tff.federated_sum(sent.steps),
      "rejected": tff.federated_sum(sent.rejections),
    }
    if len(tiers.selections) > 1:
      sums = tff.federated_sum(
        tff.federated_map(
          in_its_tier,
          (sent.message.client, sent.message.weight, sent.message.loss),
        )
      )
      measurements["tier_clients"] = sums["clients"]
      measurements["tier_loss"] = tff.federated_map(
        ratio, (sums["losses"], sums["weights"])
      )
    return tff.templates.MeasuredProcessOutput(
      state, sent.message, tff.federated_zip(measurements)
    )

  return tff.templates.MeasuredProcess(initialize, next_fn)


class _Work(NamedTuple):
  """What comes of a client's work: its message, and what is counted."""

  message: ClientMessage
  rejections: Rejections
  steps: tf.Tensor


def _train(
  training: LocalTraining,
  model: tf.keras.Model,
  step_seed: StepSeed,
  message: ServerMessage,
  client: tf.Tensor,
  batches: tf.data.Dataset,
) -> _Work:
  """Lays the graph of a client's whole training."""
  variables = tuple(model.trainable_variables)
  # AutoGraph would rewrite all of the model, for nothing: seconds.
  loss_and_gradients, next_values = (
    tf.autograph.experimental.do_not_convert(function)
    for function in (training.loss_and_gradients, training.optimizer.next)
  )

  # A tf.function, so that AutoGraph makes loops of the `for`s.
  @tf.function
  def train(weights, round_number, client, batches):
    initial = unflatten(
      next(iter(_read_plainly(weights))),
      [variable.shape.as_list() for variable in variables],
    )
    for variable, value in zip(variables, initial, strict=True):
      variable.assign(value)
    seed = fold_in(training.seed, round_number, client)
    state = training.optimizer.initialize(
      tuple(tf.TensorSpec(v.shape, v.dtype) for v in variables)
    )
    state[tff.learning.optimizers.LEARNING_RATE_KEY] = training.learning_rate(
      round_number
    )
    step, examples, loss_sum = tf.constant(0), tf.constant(0), tf.constant(0.0)
    # An iterator, not the data set: AutoGraph turns a loop over the latter into
    # a dataset reduction, where each step takes five times as long.
    for batch in iter(_read_plainly(batches)):
      this_step = tf.random.experimental.stateless_fold_in(seed, step)
      step_seed.variable.assign(this_step)
      values = tuple(variable.read_value() for variable in variables)
      if training.variational_noise is not None:
        _add_noise(
          variables, training.variational_noise(round_number), this_step
        )
      loss, gradients = loss_and_gradients(model, batch, this_step)
      if training.proximal_strength:
        gradients = [
          gradient + training.proximal_strength * (value - start)
          for gradient, value, start in zip(
            gradients, values, initial, strict=True
          )
        ]
      if training.keep_zeros:
        gradients = held_at_zero(gradients, values)
      if training.clip_norm is not None:
        gradients, _ = tf.clip_by_global_norm(gradients, training.clip_norm)
      state, values = next_values(state, values, tuple(gradients))
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
    if training.sabotage is not None:
      update = training.sabotage(update, round_number, client)
    params = sum(variable.shape.num_elements() for variable in variables)
    update, accepted, rejections = admit(
      update, params, training.max_update_norm
    )
    mean_loss = loss_sum / tf.cast(step, tf.float32)
    return _Work(
      ClientMessage(
        update=update,
        weight=tf.where(accepted, tf.cast(examples, tf.float32), 0.0),
        loss=tf.where(accepted, mean_loss, 0.0),
        round_number=round_number,
        client=client,
      ),
      rejections,
      step,
    )

  return train(message.weights, message.round_number, client, batches)


def _read_plainly(data: tf.data.Dataset) -> tf.data.Dataset:
  """Returns a data set that is read without tf.data's help.

  Rewriting it and tuning its parallelism cost more than reading a client's few
  batches, and the thread that tunes holds up the end of its iterator, at times
  for a third of a second.
  """
  options = tf.data.Options()
  options.autotune.enabled = False
  options.experimental_optimization.apply_default_optimizations = False
  return data.with_options(options)


def held_at_zero(
  gradients: Sequence[tf.Tensor], values: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
  """Returns the gradients, zero where a matrix or convolution kernel is zero.

  An optimizer of Adam's kind does not move a weight whose gradients were all
  zero, so a pruned model keeps its masks without anyone carrying them. Biases
  and norms, vectors, move as ever.

  Args:
    gradients: of the variables.
    values: the variables' own.
  """
  return [
    gradient
    if value.shape.rank < 2
    else tf.where(tf.equal(value, 0.0), 0.0, gradient)
    for gradient, value in zip(gradients, values, strict=True)
  ]


def _add_noise(
  variables: Sequence[tf.Variable], deviation: tf.Tensor, seed: tf.Tensor
) -> None:
  """Adds Gaussian noise to all variables."""
  for number, variable in enumerate(variables):
    # Past the numbers that the dropout layers draw from.
    variable_seed = tf.random.experimental.stateless_fold_in(
      seed, 1_000_000 + number
    )
    variable.assign_add(
      deviation * tf.random.stateless_normal(variable.shape, variable_seed)
    )

"""The server goes over its own speech between rounds, so as not to forget it.

Clients' speech is of one kind, short commands, say; after a few rounds of it a
model knows nothing else. The server has public speech of its own, and time
between the rounds.

References: Augenstein et al. 2022, "Mixed Federated Learning: Joint
Decentralized and Centralized Learning", section 3 (parallel training on both
losses; here one after the other); Robins 1995, "Catastrophic Forgetting,
Rehearsal and Pseudorehearsal".
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl.dropout.selection import fold_in
from fl.dropout.sub_model import flatten, unflatten
from fl.processes.client_work import LocalTraining, held_at_zero
from fl.processes.seeded_dropout import StepSeed, with_seeded_dropout
from lingvo_lite.data.batching import spec_of_any_size

Batch = dict[str, tf.Tensor]

# Tells the server's noise from that of any client, whose numbers begin at 0.
_SERVER = -1


@dataclasses.dataclass(frozen=True)
class RehearsalPlan:
  """What the server goes over.

  Attributes:
    training: how, as for a client.
    batches: endless batches of the server's speech, from the number of the one
      to begin with.
    steps: updates a round.
  """

  training: LocalTraining
  batches: Callable[[int], tf.data.Dataset]
  steps: int


class Rehearsal:
  """Trains the server's whole model on the server's speech after a round.

  What a round does depends on its number and the weights alone: the optimizer
  begins anew, as a client's does, and the noise and the batches are those of
  the round. So a run that was stopped goes on exactly as it would have.

  Args:
    plan: what to go over. Its model is built here; TFF's processes are to be
      built before, since building them makes earlier Keras models unusable.
  """

  def __init__(self, plan: RehearsalPlan) -> None:
    self._plan = plan
    self._step_seed = StepSeed()
    self._model = with_seeded_dropout(
      plan.training.build_model(), self._step_seed
    )
    self._variables = tuple(self._model.trainable_variables)
    self._shapes = [v.shape.as_list() for v in self._variables]
    self._update = tf.function(self._one_update)
    self._traced: Callable[..., tuple[dict, tf.Tensor]] | None = None
    self._stream: tuple[int, Iterator[Batch]] | None = None

  def after_round(
    self, weights: np.ndarray, round_number: int
  ) -> tuple[np.ndarray, float]:
    """Returns the weights and the mean loss after the round's updates.

    Args:
      weights: float32[P], of the server's model.
      round_number: from 0.
    """
    training = self._plan.training
    for variable, value in zip(
      self._variables,
      unflatten(tf.constant(weights), self._shapes),
      strict=True,
    ):
      variable.assign(value)
    # Tensors all, as after an update: a graph for numbers serves one only.
    state = tf.nest.map_structure(
      tf.convert_to_tensor,
      training.optimizer.initialize(
        tuple(tf.TensorSpec(v.shape, v.dtype) for v in self._variables)
      ),
    )
    number = tf.constant(round_number)
    state[tff.learning.optimizers.LEARNING_RATE_KEY] = training.learning_rate(
      number
    )
    seed = fold_in(training.seed, number, tf.constant(_SERVER))
    losses = []
    for step, batch in enumerate(self._batches(round_number)):
      self._step_seed.variable.assign(
        tf.random.experimental.stateless_fold_in(seed, step)
      )
      if self._traced is None:
        self._traced = self._update.get_concrete_function(
          state, spec_of_any_size(batch)
        )
      state, loss = self._traced(state, dict(batch))
      losses.append(loss)
    return (
      flatten([v.read_value() for v in self._variables]).numpy(),
      float(tf.reduce_mean(losses)),
    )

  def _batches(self, round_number: int) -> Iterator[Batch]:
    start = round_number * self._plan.steps
    # Kept from round to round: a new stream takes a while to lay.
    if self._stream is None or self._stream[0] != start:
      self._stream = (start, iter(self._plan.batches(start)))
    stream = self._stream[1]
    for _ in range(self._plan.steps):
      yield next(stream)
    self._stream = (start + self._plan.steps, stream)

  def _one_update(self, state, batch):
    training = self._plan.training
    loss, gradients = training.loss_and_gradients(
      self._model, batch, self._step_seed.variable.read_value()
    )
    values = tuple(variable.read_value() for variable in self._variables)
    if training.keep_zeros:
      gradients = held_at_zero(gradients, values)
    if training.clip_norm is not None:
      gradients, _ = tf.clip_by_global_norm(gradients, training.clip_norm)
    state, values = training.optimizer.next(state, values, tuple(gradients))
    for variable, value in zip(self._variables, values, strict=True):
      variable.assign(value)
    return state, loss

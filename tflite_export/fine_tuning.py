"""Short training of a compressed model that heals what compression broke."""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from lingvo_lite.data.batching import spec_of_any_size
from lingvo_lite.stage.errors import InputError

Batch = dict[str, tf.Tensor]
# From a batch to the loss and the gradients of the trainable variables.
Gradients = Callable[[Batch], tuple[tf.Tensor, Sequence[tf.Tensor]]]

_WARM_UP_FRACTION = 0.1
_LARGEST_GRADIENT_NORM = 1.0


def gradients_of(
  model: tf.keras.Model, loss_fn: Callable[[Batch], tf.Tensor]
) -> Gradients:
  """Returns how a loss is lowered.

  Args:
    model: whose trainable variables learn.
    loss_fn: from a batch to a scalar.
  """
  variables = model.trainable_variables

  def gradients(batch: Batch) -> tuple[tf.Tensor, Sequence[tf.Tensor]]:
    with tf.GradientTape() as tape:
      loss = loss_fn(batch)
    return loss, tape.gradient(loss, variables)

  return gradients


class FineTuning:
  """Adam on the trainable variables of a model.

  Args:
    model: the wrapped model; trained in place.
    gradients_fn: gives a batch's loss and gradients; see `gradients_of`.
    steps: of the optimiser.
    learning_rate: highest one; reached after a tenth of the steps, then
      lowered to zero along a cosine.
  """

  def __init__(
    self,
    model: tf.keras.Model,
    gradients_fn: Gradients,
    steps: int,
    learning_rate: float,
  ):
    self._steps = steps
    self._learning_rate = learning_rate
    self._optimizer = tf.keras.optimizers.Adam(
      learning_rate, global_clipnorm=_LARGEST_GRADIENT_NORM
    )
    variables = model.trainable_variables
    self._optimizer.build(variables)

    def update(batch: Batch) -> tf.Tensor:
      loss, gradients = gradients_fn(batch)
      self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
      return loss

    self._update = tf.function(update)
    self._traced: Callable[[Batch], tf.Tensor] | None = None

  def step(self, index: int, batch: Batch) -> float:
    """Makes one step, counted from 0, and returns its loss."""
    if self._traced is None:
      # Once for batches of all sizes: tracing takes as long as 50 steps.
      self._traced = self._update.get_concrete_function(spec_of_any_size(batch))
    rate = self._learning_rate * _schedule(index, self._steps)
    self._optimizer.learning_rate.assign(rate)
    return float(self._traced(dict(batch)))

  def run(
    self,
    batches: Iterable[Batch],
    name: str,
    before_step: Callable[[int], None] = lambda index: None,
  ) -> list[float]:
    """Trains to the last step.

    Args:
      batches: as many as there are steps, or more.
      name: shown before the progress bar.
      before_step: called with the index of each step.

    Returns:
      The loss of each step.

    Raises:
      InputError: a loss is no number, or there are too few batches.
    """
    losses: list[float] = []
    bar = tqdm.tqdm(total=self._steps, desc=f"fine-tuning {name}", unit="step")
    with bar:
      for index, batch in zip(range(self._steps), batches, strict=False):
        before_step(index)
        loss = self.step(index, batch)
        if not np.isfinite(loss):
          raise InputError(
            f"found the loss {loss} in step {index} of fine-tuning {name},"
            " expected a number: is the model trained and are its weights"
            " finite?"
          )
        losses.append(loss)
        bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
        bar.update()
    if len(losses) < self._steps:
      raise InputError(
        f"found {len(losses)} batches of speech to fine-tune {name} on,"
        f" expected {self._steps}: give it more speech"
      )
    return losses


def _schedule(index: int, steps: int) -> float:
  """Returns the fraction of the highest learning rate in a step."""
  warm_up = max(1, round(_WARM_UP_FRACTION * steps))
  if index < warm_up:
    return (index + 1) / warm_up
  progress = (index - warm_up) / max(1, steps - warm_up)
  return 0.5 * (1 + math.cos(math.pi * progress))

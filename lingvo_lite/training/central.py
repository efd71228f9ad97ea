"""Training in one place, on data that is at hand."""

import dataclasses
import math
import os
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tqdm

from lingvo_lite.stage.errors import InputError

Batch = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
  """How to train centrally.

  Attributes:
    steps: updates in all.
    batch_size: utterances an update.
    peak_learning_rate: reached after the warm-up, then lowered to zero along
      half a cosine.
    warmup_steps: updates of linear warm-up.
    clip_norm: largest global norm of a gradient.
    weight_decay: Adam's decoupled decay of the matrices, as a fraction of the
      learning rate.
    evaluate_every: updates between evaluations.
    seed: of the order of the data and of the augmentation.
  """

  steps: int
  batch_size: int = 16
  peak_learning_rate: float = 2e-3
  warmup_steps: int = 300
  clip_norm: float = 5.0
  weight_decay: float = 0.01
  evaluate_every: int = 250
  seed: int = 0

  def __post_init__(self):
    for name in ("steps", "batch_size", "evaluate_every"):
      if getattr(self, name) < 1:
        raise InputError(
          f"found {name} {getattr(self, name)}, expected 1 or more"
        )
    if not self.peak_learning_rate > 0:
      raise InputError(
        f"found peak_learning_rate {self.peak_learning_rate}, expected a"
        " positive number"
      )


def learning_rate(step: tf.Tensor, config: TrainingConfig) -> tf.Tensor:
  """Linear warm-up, then half a cosine to zero at the last step.

  Reference: Loshchilov and Hutter 2017, "SGDR", eq. 5, without restarts.
  """
  step = tf.cast(step, tf.float32)
  warmup = float(max(1, min(config.warmup_steps, config.steps - 1)))
  rising = (step + 1) / warmup
  share = (step - warmup) / max(config.steps - warmup, 1.0)
  falling = 0.5 * (1 + tf.cos(math.pi * tf.clip_by_value(share, 0.0, 1.0)))
  return config.peak_learning_rate * tf.minimum(rising, falling)


class CentralTraining:
  """Trains a model, shows how it goes, and goes on where it was stopped.

  Args:
    model: any Keras model.
    loss_fn: from a batch to a scalar; calls the model with `training=True`.
    config: how to train.
    checkpoint_folder: where to keep checkpoints; None keeps none.
  """

  def __init__(
    self,
    model: tf.keras.Model,
    loss_fn: Callable[[Batch], tf.Tensor],
    config: TrainingConfig,
    checkpoint_folder: str | None = None,
  ) -> None:
    self._model = model
    self._config = config
    self._step = tf.Variable(0, dtype=tf.int64)
    self._optimizer = tf.keras.optimizers.AdamW(
      learning_rate=0.0,
      beta_2=0.98,
      epsilon=1e-9,
      weight_decay=config.weight_decay,
    )
    self._optimizer.exclude_from_weight_decay(
      var_names=["bias", "gamma", "beta"]
    )
    self._optimizer.build(model.trainable_variables)
    self._update = tf.function(self._one_update(loss_fn), reduce_retracing=True)
    self._manager = None
    if checkpoint_folder is not None:
      self._manager = self._restored(checkpoint_folder)

  @property
  def step(self) -> int:
    """Updates done so far; after a restart, those of the checkpoint."""
    return int(self._step)

  @property
  def progress(self) -> tf.Tensor:
    """float32[], the fraction of the updates that is done."""
    return tf.cast(self._step, tf.float32) / self._config.steps

  def run(
    self,
    batches: tf.data.Dataset,
    evaluate: Callable[[], dict[str, float]],
    history: list[dict[str, Any]],
    keep_history: Callable[[list[dict[str, Any]]], None] = lambda rows: None,
  ) -> list[dict[str, Any]]:
    """Trains to the last step.

    Args:
      batches: endless, beginning with the batch of `step`.
      evaluate: figures to record and show, every `evaluate_every` updates.
      history: the rows of an earlier, interrupted run.
      keep_history: given all rows before each checkpoint.

    Returns:
      `history` and the new rows: `step`, `seconds`, mean `loss` since the row
      before, and what `evaluate` returned.

    Raises:
      InputError: the loss is no longer a number.
    """
    config = self._config
    history = [row for row in history if row["step"] <= self.step]
    seconds_before = history[-1]["seconds"] if history else 0.0
    started = time.monotonic()
    losses = []
    progress = tqdm.tqdm(
      total=config.steps, initial=self.step, unit="step", dynamic_ncols=True
    )
    with progress:
      for batch in batches.take(config.steps - self.step):
        losses.append(self._update(batch))
        progress.update()
        if self.step % config.evaluate_every and self.step < config.steps:
          continue
        loss = float(tf.reduce_mean(losses))
        losses = []
        if not math.isfinite(loss):
          raise InputError(
            f"found a loss of {loss} at step {self.step}, expected a number:"
            " lower --learning_rate"
          )
        row = {
          "step": self.step,
          "seconds": round(time.monotonic() - started + seconds_before, 1),
          "loss": round(loss, 5),
          **{name: round(value, 5) for name, value in evaluate().items()},
        }
        history.append(row)
        progress.set_postfix(
          {k: v for k, v in row.items() if k not in ("step", "seconds")}
        )
        keep_history(history)
        if self._manager is not None:
          self._manager.save(checkpoint_number=self.step)
    return history

  def _one_update(self, loss_fn):
    config, model = self._config, self._model

    def update(batch: Batch) -> tf.Tensor:
      with tf.GradientTape() as tape:
        loss = loss_fn(batch)
      gradients = tape.gradient(loss, model.trainable_variables)
      gradients, _ = tf.clip_by_global_norm(gradients, config.clip_norm)
      self._optimizer.learning_rate.assign(learning_rate(self._step, config))
      self._optimizer.apply_gradients(
        zip(gradients, model.trainable_variables, strict=True)
      )
      self._step.assign_add(1)
      return loss

    return update

  def _restored(self, folder: str) -> tf.train.CheckpointManager:
    checkpoint = tf.train.Checkpoint(
      model=self._model, optimizer=self._optimizer, step=self._step
    )
    manager = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=2)
    # The newest whole one: a kill may leave the last one torn.
    for path in reversed(manager.checkpoints):
      try:
        checkpoint.restore(path).assert_existing_objects_matched()
        return manager
      except (tf.errors.OpError, AssertionError, ValueError):
        self._step.assign(0)
    if manager.checkpoints:
      raise InputError(
        f"found no usable checkpoint in {folder}, expected one of this"
        f" configuration: remove {os.path.basename(folder)} to begin anew"
      )
    return manager

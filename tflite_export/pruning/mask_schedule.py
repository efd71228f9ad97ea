"""When and how the masks of N:M sparsity are chosen anew in training."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from lingvo_lite.stage.errors import InputError


@dataclasses.dataclass(frozen=True)
class MaskSchedule:
  """Steps before which masks are chosen; frozen after the last.

  `MaskSchedule(1)` is one-shot, `MaskSchedule(4, 10)` few-shot (before steps 0,
  10, 20 and 30), and `MaskSchedule(100)` chooses before every step until the
  100th. Reference: the modes of Praxis, `sparsity_modes.py`.

  Attributes:
    updates: how often masks are chosen.
    every_steps: how many steps apart.
  """

  updates: int = 1
  every_steps: int = 1

  def __post_init__(self):
    if self.updates < 1 or self.every_steps < 1:
      raise InputError(
        f"found {self.updates} mask updates {self.every_steps} steps apart,"
        " expected 1 or more of both"
      )

  @property
  def last_step(self) -> int:
    """The step before which masks are chosen last."""
    return (self.updates - 1) * self.every_steps

  def is_due(self, step: int) -> bool:
    """Returns whether masks are chosen before this step, counted from 0."""
    return step <= self.last_step and step % self.every_steps == 0


def keep_largest(kernel: tf.Tensor, kept_of: tuple[int, int]) -> tf.Tensor:
  """Returns which weights are kept of each run of inputs, by magnitude.

  Args:
    kernel: float32[inputs, outputs]; m divides the inputs.
    kept_of: `(n, m)`.

  Returns:
    float32[inputs, outputs] of ones and zeros, n ones in each run; of equals
    the first is kept.
  """
  kept, group = kept_of
  inputs, outputs = kernel.shape
  runs = tf.reshape(tf.abs(kernel), [inputs // group, group, outputs])
  runs = tf.transpose(runs, [0, 2, 1])
  chosen = tf.math.top_k(runs, kept).indices
  mask = tf.reduce_sum(tf.one_hot(chosen, group), axis=-2)
  return tf.reshape(tf.transpose(mask, [0, 2, 1]), [inputs, outputs])


class MaskUpdate:
  """Chooses the masks of several kernels, and says how much they changed.

  Args:
    kernels: the raw weights; what is dropped now may come back.
    masks: float32 variables of their shapes, written to.
    kept_of: `(n, m)`.
  """

  def __init__(
    self,
    kernels: Sequence[tf.Variable],
    masks: Sequence[tf.Variable],
    kept_of: tuple[int, int],
  ):
    pairs = list(zip(kernels, masks, strict=True))
    kept = sum(kernel.shape.num_elements() for kernel in kernels)
    kept *= kept_of[0] / kept_of[1]

    @tf.function
    def update():
      changed = 0.0
      for kernel, mask in pairs:
        new = keep_largest(kernel, kept_of)
        changed += tf.reduce_sum(tf.maximum(new - mask, 0.0))
        mask.assign(new)
      return changed / kept

    self._update = update

  def __call__(self) -> float:
    """Returns the churn: the fraction of the kept weights that are new."""
    return float(self._update())

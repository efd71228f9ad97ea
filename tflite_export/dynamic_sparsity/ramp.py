"""How sparsities rise in training: TF-MOT's cubic schedule, as a fraction."""

import tensorflow as tf
import tensorflow_model_optimization as tfmot

# TF-MOT wants a sparsity below 1; what is wanted here is the part of it.
_WHOLE = 0.5
_POWER = 3


class CubicRamp:
  """Tells when masks are chosen, and how far sparsities have risen.

  All levels rise together, each by the same part of its target,
  `1 - (1 - step / steps)^3`: they stay nested on the way.

  Reference: Zhu and Gupta 2017, "To prune, or not to prune", eq. 1.

  Args:
    steps: when targets are reached; a multiple of `every`.
    every: steps between choices of the masks.
  """

  def __init__(self, steps: int, every: int):
    self._schedule = tfmot.sparsity.keras.PolynomialDecay(
      initial_sparsity=0.0,
      final_sparsity=_WHOLE,
      begin_step=0,
      end_step=steps,
      power=_POWER,
      frequency=every,
    )

  def __call__(self, step: int) -> tuple[bool, float]:
    """Returns whether masks are chosen before a step, and the part reached.

    Args:
      step: counted from 0.
    """
    due, sparsity = self._schedule(tf.constant(step))
    return bool(due), float(sparsity) / _WHOLE

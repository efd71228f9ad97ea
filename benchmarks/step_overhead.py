"""How much longer a training step takes when kernels are masked and rounded."""

import itertools
import time
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from lingvo_lite.training.ctc_objective import ctc_objective
from tflite_export.fine_tuning import FineTuning, gradients_of
from tflite_export.pruning.mask_schedule import keep_largest
from tflite_export.qat.quantizers import KernelRule, quantize_aware

_WARM_UP_TURNS = 2


def step_overhead(
  model: tf.keras.Model,
  batches: Iterable[dict[str, tf.Tensor]],
  turns: int,
) -> dict[str, float]:
  """Times steps of the plain and of the wrapped model turn by turn.

  Both learn the transcripts of the same batches; the wrapped one holds 4-bit
  weights, 2 of 4, with trained scales.

  Args:
    model: plain Keras; left as it is.
    batches: of one length, as the model trains on.
    turns: how many steps of each are timed.

  Returns:
    `plain_step_ms`, `wrapped_step_ms` (medians) and their `ratio`.
  """
  plain = tf.keras.models.clone_model(model)
  plain.set_weights(model.get_weights())
  dense = [
    layer for layer in model.layers if isinstance(layer, tf.keras.layers.Dense)
  ]
  masks = {
    layer.name: keep_largest(layer.kernel, (2, 4)).numpy() for layer in dense
  }
  rules = {layer.name: KernelRule(4) for layer in dense}
  wrapped = quantize_aware(model, rules, masks)
  trainings = [_training(each, turns) for each in (plain, wrapped)]
  times = []
  for index, batch in enumerate(
    itertools.islice(itertools.cycle(batches), turns + _WARM_UP_TURNS)
  ):
    turn = []
    for training in trainings:
      started = time.perf_counter()
      training.step(index, batch)
      turn.append(time.perf_counter() - started)
    times.append(turn)
  medians = np.median(times[_WARM_UP_TURNS:], axis=0)
  plain_s, wrapped_s = (float(median) for median in medians)
  return {
    "plain_step_ms": round(plain_s * 1000, 2),
    "wrapped_step_ms": round(wrapped_s * 1000, 2),
    "ratio": round(wrapped_s / plain_s, 4),
  }


def _training(model: tf.keras.Model, turns: int) -> FineTuning:
  return FineTuning(
    model,
    gradients_of(model, lambda batch: ctc_objective(model, batch)),
    turns + _WARM_UP_TURNS,
    learning_rate=1e-4,
  )

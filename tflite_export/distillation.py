"""Short fine-tuning of a compressed model towards the float model.

The student learns the teacher's label distribution on each frame instead of the
transcripts: so it keeps what the teacher knows and the speech at hand does not
show, such as the commands that only the clients ever heard.

Reference: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network".
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf
import tqdm

from lingvo_lite.layers.frames import frame_mask
from lingvo_lite.models.ctc_model import subsampled_lengths
from lingvo_lite.stage.errors import InputError

# Divides the logits. CTC's distributions are nearly all blank or all one label;
# softened, they also tell what else it might have been, and that carries over
# to voices that the fine-tuning does not hear.
_TEMPERATURE = 4.0

_WARM_UP_FRACTION = 0.1
_LARGEST_GRADIENT_NORM = 1.0


def distill(
  student: tf.keras.Model,
  teacher: tf.keras.Model,
  batches: Iterable[Mapping[str, tf.Tensor]],
  steps: int,
  learning_rate: float,
  name: str,
) -> list[float]:
  """Fine-tunes the student's variables in place.

  Dropout stays off: it would only blur what is to be matched.

  Args:
    student: the wrapped model.
    teacher: the float model; left as it is.
    batches: `features` and `lengths`, at least `steps` of them.
    steps: of the optimiser.
    learning_rate: highest one; reached after a tenth of the steps, then
      lowered to zero along a cosine.
    name: shown before the progress bar.

  Returns:
    The loss of each step: KL divergence a frame of the softened distributions,
    in nats.

  Raises:
    InputError: the loss is no number.
  """
  optimizer = tf.keras.optimizers.Adam(
    learning_rate, global_clipnorm=_LARGEST_GRADIENT_NORM
  )
  variables = student.trainable_variables
  optimizer.build(variables)
  mel_bins = student.input_shape[0][-1]

  @tf.function(
    input_signature=[
      tf.TensorSpec([None, None, mel_bins]),
      tf.TensorSpec([None], tf.int32),
    ]
  )
  def step(features, lengths):
    target = _soft_labels(teacher, features, lengths)
    with tf.GradientTape() as tape:
      found = _soft_labels(student, features, lengths)
      divergence = tf.reduce_sum(tf.exp(target) * (target - found), -1)
      mask = frame_mask(subsampled_lengths(lengths), tf.shape(found)[1])
      loss = tf.reduce_sum(divergence * mask) / tf.reduce_sum(mask)
    gradients = tape.gradient(loss, variables)
    optimizer.apply_gradients(zip(gradients, variables, strict=True))
    return loss

  losses = []
  bar = tqdm.tqdm(total=steps, desc=f"fine-tuning {name}", unit="step")
  with bar:
    for index, batch in zip(range(steps), batches, strict=False):
      optimizer.learning_rate = learning_rate * _schedule(index, steps)
      loss = float(step(batch["features"], batch["lengths"]))
      if not np.isfinite(loss):
        raise InputError(
          f"found the loss {loss} in step {index} of fine-tuning {name},"
          " expected a number: is the model trained and are its weights finite?"
        )
      losses.append(loss)
      bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
      bar.update()
  return losses


def _soft_labels(
  model: tf.keras.Model, features: tf.Tensor, lengths: tf.Tensor
) -> tf.Tensor:
  """Returns log-probabilities at the temperature, float32[B, T', V]."""
  return tf.nn.log_softmax(model([features, lengths]) / _TEMPERATURE)


def _schedule(index: int, steps: int) -> float:
  """Returns the fraction of the highest learning rate in a step."""
  warm_up = max(1, round(_WARM_UP_FRACTION * steps))
  if index < warm_up:
    return (index + 1) / warm_up
  progress = (index - warm_up) / max(1, steps - warm_up)
  return 0.5 * (1 + math.cos(math.pi * progress))

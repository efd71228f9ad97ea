"""The gradients of one batch at several sparsities of the same weights."""

from collections.abc import Iterable, Sequence

import tensorflow as tf

from lingvo_lite.training.ctc_objective import ctc_of_logits
from lingvo_lite.training.softened_divergence import softened_divergence


def gradients_of_passes(
  model: tf.keras.Model,
  kernels: Sequence[tf.Variable],
  masks: Iterable[Sequence[tf.Tensor]],
  batch: dict[str, tf.Tensor],
) -> tuple[tf.Tensor, list[tf.Tensor]]:
  """Returns the sum of the passes' losses and of their gradients.

  All passes learn the transcripts; all but the first also learn what the first
  one answers (in-place distillation). Without the transcripts a sparse level,
  which begins by recognising nothing, learns too slowly. The masked weights are
  assigned before a pass and the shared ones after the last. The gradient of
  what a pass saw, masked, is that of the shared weights.

  Args:
    model: in training; it has its weights again afterwards.
    kernels: of its sparse layers.
    masks: of each pass, the densest first: a mask of ones and zeros for each
      kernel, of its shape.
    batch: as `ctc_objective` takes it.

  Returns:
    float32[], and a gradient for each of the model's trainable variables.

  Reference: Yu and Huang 2019, "Universally Slimmable Networks and Improved
  Training Techniques", section 3.
  """
  variables = model.trainable_variables
  places = {id(variable): at for at, variable in enumerate(variables)}
  shared = [tf.identity(kernel) for kernel in kernels]
  loss = tf.zeros([])
  gradients = [tf.zeros(variable.shape) for variable in variables]
  target = None
  for of_kernels in masks:
    of_variable: dict[int, tf.Tensor] = {}
    for kernel, value, mask in zip(kernels, shared, of_kernels, strict=True):
      of_variable[places[id(kernel)]] = mask
      kernel.assign(value * mask)
    with tf.GradientTape() as tape:
      logits = model([batch["features"], batch["lengths"]], training=True)
      of_pass = ctc_of_logits(logits, batch)
      if target is None:
        target = tf.stop_gradient(logits)
      else:
        # Not times the temperature's square: that harms the dense level.
        of_pass += softened_divergence(target, logits, batch["lengths"])
    found = tape.gradient(of_pass, variables)
    loss += of_pass
    for at, gradient in enumerate(found):
      gradients[at] += gradient * of_variable.get(at, 1.0)
  for kernel, value in zip(kernels, shared, strict=True):
    kernel.assign(value)
  return loss, gradients

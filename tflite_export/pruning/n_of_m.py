"""N:M sparsity: n weights kept of each m neighbours along the inputs."""

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot

from lingvo_lite.stage.errors import InputError

# Any speech does: the mask is chosen by magnitude alone.
_FRAMES = 8


def prunable_layers(
  model: tf.keras.Model, kept_of: tuple[int, int]
) -> list[str]:
  """Returns the names of the `Dense` layers whose input width m divides.

  Args:
    model: plain Keras.
    kept_of: `(n, m)`.
  """
  return [
    layer.name
    for layer in model.layers
    if isinstance(layer, tf.keras.layers.Dense)
    and layer.kernel.shape[0] % kept_of[1] == 0
  ]


def prune(model: tf.keras.Model, kept_of: tuple[int, int]) -> tf.keras.Model:
  """Zeroes the smallest weights in each run of m, once, by magnitude.

  Done by TF-MOT's wrapper, which chooses its mask in the first training step.
  TF-MOT counts zeros; we count what is kept.

  Args:
    model: plain Keras from `[features, lengths]`.
    kept_of: `(n, m)`: n weights are kept of m along a kernel's first axis.

  Returns:
    A plain model of its own.

  Raises:
    InputError: no layer's input width is divisible by m.
  """
  kept, group = kept_of
  names = prunable_layers(model, kept_of)
  if not names:
    raise InputError(
      f"found no matrix whose input width {group} divides, expected some for"
      f" {kept} of {group}: choose another recipe or another model width"
    )

  def wrap(layer):
    copy = layer.__class__.from_config(layer.get_config())
    if layer.name not in names:
      return copy
    return tfmot.sparsity.keras.prune_low_magnitude(
      copy,
      pruning_schedule=tfmot.sparsity.keras.ConstantSparsity(
        1 - kept / group, begin_step=0
      ),
      sparsity_m_by_n=(group - kept, group),
    )

  wrapped = tf.keras.models.clone_model(model, clone_function=wrap)
  for layer, copy in zip(model.layers, wrapped.layers, strict=True):
    copy.set_weights(layer.get_weights())
    if layer.name in names:
      copy.pruning_step.assign(0)
  features = tf.zeros([1, _FRAMES, model.input_shape[0][-1]])
  wrapped([features, tf.constant([_FRAMES])], training=True)
  pruned = tf.keras.models.clone_model(model)
  for layer, copy in zip(wrapped.layers, pruned.layers, strict=True):
    # What a wrapper calls its weights are those of the layer inside.
    copy.set_weights(layer.get_weights())
  for name in names:
    check_kept_of(pruned.get_layer(name).kernel.numpy(), kept_of, name)
  return pruned


def check_kept_of(
  kernel: np.ndarray, kept_of: tuple[int, int], name: str
) -> None:
  """Raises InputError unless every run of m inputs keeps at most n weights.

  Args:
    kernel: float or int[inputs, outputs].
    kept_of: `(n, m)`.
    name: what to call the kernel.
  """
  kept, group = kept_of
  runs = (kernel != 0).reshape(-1, group, kernel.shape[-1])
  most = int(runs.sum(axis=1).max())
  if most > kept:
    raise InputError(
      f"found {most} weights in a run of {group} inputs of {name}, expected at"
      f" most {kept}: compress the model again"
    )

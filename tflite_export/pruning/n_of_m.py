"""N:M sparsity: n weights kept of each m neighbours along the inputs."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot

from lingvo_lite.stage.errors import InputError

# Any speech does: the mask is chosen by magnitude alone.
_FRAMES = 8


def prunable_layers(
  model: tf.keras.Model, kept_of: tuple[int, int]
) -> list[str]:
  """Returns the names of all `Dense` layers: projections of every kind.

  Args:
    model: plain Keras.
    kept_of: `(n, m)`.

  Raises:
    InputError: the input width of a layer is not divisible by m.
  """
  kept, group = kept_of
  names = []
  for layer in model.layers:
    if not isinstance(layer, tf.keras.layers.Dense):
      continue
    width = layer.kernel.shape[0]
    if width % group:
      raise InputError(
        f"found the input width {width} of {layer.name}, expected a multiple of"
        f" {group} to keep {kept} of {group}: choose another recipe or another"
        " model width"
      )
    names.append(layer.name)
  return names


def prune(
  model: tf.keras.Model,
  kept_of: tuple[int, int],
  only: Sequence[str] | None = None,
) -> tf.keras.Model:
  """Zeroes the smallest weights in each run of m, once, by magnitude.

  Done by TF-MOT's wrapper, which chooses its mask in the first training step.
  TF-MOT counts zeros; we count what is kept.

  Args:
    model: plain Keras from `[features, lengths]`.
    kept_of: `(n, m)`: n weights are kept of m along a kernel's first axis.
    only: the layers to prune; None: every `Dense`.

  Returns:
    A plain model of its own.

  Raises:
    InputError: the input width of a layer is not divisible by m.
  """
  kept, group = kept_of
  names = prunable_layers(model, kept_of)
  if only is not None:
    names = [name for name in names if name in only]

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

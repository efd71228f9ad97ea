"""Moves the kept weights of pruned matrices to where they replace the others.

With X the inputs that the float model feeds a matrix on real speech, W its
weights and M the mask, the kept weights become

  argmin over W' = M * W' of |X W' - X W|^2 + damping |W' - W|^2,

the bias going along as one more input that is always 1 and always kept. That
is a small system of linear equations for each output, in closed form: on the
default corpus it undoes most of the harm of 2:4 pruning in seconds, before any
gradient is taken.

Reference: Frantar and Alistarh 2023, "SparseGPT", eq. 2; without its updates of
the mask.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from lingvo_lite.layers.frames import frame_mask
from lingvo_lite.models.ctc_model import subsampled_lengths

# Of the mean square of an input.
_DAMPING = 0.01
# Outputs solved for at once: bounds the memory of their systems.
_OUTPUTS = 64


def refit(
  pruned: tf.keras.Model,
  model: tf.keras.Model,
  names: Sequence[str],
  batches: Iterable[Mapping[str, tf.Tensor]],
) -> None:
  """Sets the kept weights and the biases of pruned layers, in place.

  Args:
    pruned: plain Keras, what `prune` made of `model`.
    model: the float model.
    names: of the pruned `Dense` layers.
    batches: `features` and `lengths` of a few hundred seconds of speech.
  """
  moments = input_moments(model, names, batches)
  for name in names:
    layer, target = model.get_layer(name), pruned.get_layer(name)
    mask = target.kernel.numpy() != 0
    bias = layer.bias.numpy() if layer.use_bias else None
    kernel, bias = solve(layer.kernel.numpy(), bias, mask, moments[name])
    target.kernel.assign(kernel)
    if layer.use_bias:
      target.bias.assign(bias)


def input_moments(
  model: tf.keras.Model,
  names: Sequence[str],
  batches: Iterable[Mapping[str, tf.Tensor]],
) -> dict[str, np.ndarray]:
  """Returns the second moments of the inputs of `Dense` layers.

  Args:
    model: plain Keras.
    names: of the layers.
    batches: `features` and `lengths`.

  Returns:
    Layer name -> float64[inputs + 1, inputs + 1], the sum over speech frames of
    (x, 1) (x, 1)^T.
  """
  inputs = tf.keras.Model(
    model.inputs, [model.get_layer(name).input for name in names]
  )

  @tf.function(
    input_signature=[
      tf.TensorSpec([None, None, model.input_shape[0][-1]]),
      tf.TensorSpec([None], tf.int32),
    ]
  )
  def moments(features, lengths):
    sums = []
    for values in tf.nest.flatten(inputs([features, lengths])):
      frames = tf.shape(values)[1]
      if values.shape[0] == 1:  # The positions: all of them count.
        mask = tf.ones([1, frames])
      else:
        mask = frame_mask(subsampled_lengths(lengths), frames)
      mask = mask[..., tf.newaxis]
      rows = tf.concat([values * mask, mask], -1)
      rows = tf.reshape(rows, [-1, values.shape[-1] + 1])
      sums.append(tf.matmul(rows, rows, transpose_a=True))
    return sums

  totals = {name: np.zeros(()) for name in names}
  for batch in batches:
    sums = moments(batch["features"], batch["lengths"])
    for name, found in zip(names, sums, strict=True):
      totals[name] = totals[name] + found.numpy().astype(np.float64)
  return totals


def solve(
  kernel: np.ndarray,
  bias: np.ndarray | None,
  mask: np.ndarray,
  moments: np.ndarray,
) -> tuple[np.ndarray, np.ndarray | None]:
  """Solves for the kept weights of one matrix.

  Args:
    kernel: float32[inputs, outputs], before pruning.
    bias: float32[outputs], or None.
    mask: bool[inputs, outputs], True where a weight is kept; any number of
      weights may be kept for an output.
    moments: float64[inputs + 1, inputs + 1], see `input_moments`.

  Returns:
    The kernel, zero where nothing is kept, and the bias.
  """
  weights = kernel.astype(np.float64)
  strength = _DAMPING * np.diag(moments)[:-1].mean()
  if bias is None:
    moments = moments[:-1, :-1]
  else:
    weights = np.vstack([weights, bias[np.newaxis]])
    mask = np.vstack([mask, np.ones_like(mask[:1])])
  damping = np.full(len(weights), strength)
  if bias is not None:
    damping[-1] = 0.0
  damping += 1e-12  # Inputs that are always zero.
  system = moments + np.diag(damping)
  target = system @ weights
  solved = np.zeros_like(weights)
  for start in range(0, weights.shape[1], _OUTPUTS):
    part = slice(start, start + _OUTPUTS)
    solved[:, part] = _solve_outputs(system, target[:, part], mask[:, part])
  solved = solved.astype(np.float32)
  if bias is None:
    return solved, None
  return solved[:-1], solved[-1]


def _solve_outputs(
  system: np.ndarray, target: np.ndarray, mask: np.ndarray
) -> np.ndarray:
  """Solves `system[kept, kept] x = target[kept]` for each column of `target`.

  Outputs that keep equally many inputs, as all do after N:M pruning, are solved
  together.
  """
  solved = np.zeros_like(target)
  counts = mask.sum(axis=0)
  for count in np.unique(counts):
    columns = np.flatnonzero(counts == count)
    kept = np.stack([np.flatnonzero(mask[:, column]) for column in columns])
    systems = system[kept[:, :, np.newaxis], kept[:, np.newaxis, :]]
    right = target[kept, columns[:, np.newaxis]]
    found = np.linalg.solve(systems, right[..., np.newaxis])[..., 0]
    solved[kept, columns[:, np.newaxis]] = found
  return solved

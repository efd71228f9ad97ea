"""Applies a recipe: plain Keras in, plain Keras on the grid out."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping

import tensorflow as tf

from lingvo_lite.stage.errors import InputError
from tflite_export.distillation import distill
from tflite_export.pruning.least_squares import refit
from tflite_export.pruning.n_of_m import check_kept_of, prunable_layers, prune
from tflite_export.qat.grid import find_grid
from tflite_export.qat.quantizers import kernel_name, quantize_aware
from tflite_export.recipes import Recipe
from tflite_export.strip import strip

# Convolutions are 1% of the weights, and few weights feed each output.
_CONVOLUTION_BITS = 8
# About 8 minutes of speech for the default batches.
_REFIT_BATCHES = 12


@dataclasses.dataclass(frozen=True, eq=False)
class CompressedModel:
  """A compressed model as plain Keras.

  Attributes:
    model: its quantised kernels hold `scale * integer`.
    recipe: what was done to it.
    bits_by_layer: layer name -> bits, of the layers with quantised kernels.
    pruned_layers: names of the layers with pruned kernels.
    losses: of each step of the fine-tuning.
  """

  model: tf.keras.Model
  recipe: Recipe
  bits_by_layer: dict[str, int]
  pruned_layers: tuple[str, ...]
  losses: tuple[float, ...] = ()


def compress(
  model: tf.keras.Model,
  recipe: Recipe,
  make_batches: Callable[[], Iterable[Mapping[str, tf.Tensor]]],
) -> CompressedModel:
  """Prunes, refits what is kept, quantises with fine-tuning, then strips.

  Args:
    model: the trained float model; left as it is.
    recipe: what to do.
    make_batches: gives endless speech to fine-tune on; called only when the
      recipe prunes or fine-tunes.

  Returns:
    The compressed model; what its layers hold was checked.

  Raises:
    InputError: a weight is not finite, or the recipe does not fit the model.
  """
  _check_finite(model)
  if recipe.weight_bits is None:
    return CompressedModel(model, recipe, {}, ())
  pruned = model
  pruned_layers: tuple[str, ...] = ()
  if recipe.kept_of is not None:
    pruned_layers = tuple(prunable_layers(model, recipe.kept_of))
    pruned = prune(model, recipe.kept_of)
    speech = itertools.islice(make_batches(), _REFIT_BATCHES)
    refit(pruned, model, pruned_layers, speech)
  bits_by_layer = _bits_by_layer(model, recipe.weight_bits)
  wrapped = quantize_aware(pruned, bits_by_layer)
  losses: list[float] = []
  if recipe.fine_tune_steps:
    losses = distill(
      wrapped,
      model,
      make_batches(),
      recipe.fine_tune_steps,
      recipe.learning_rate,
      recipe.name,
    )
  stripped = strip(wrapped, model, bits_by_layer)
  if recipe.kept_of is not None:
    for name in pruned_layers:
      kernel = stripped.get_layer(name).kernel.numpy()
      grid = find_grid(kernel, bits_by_layer[name])
      check_kept_of(grid.integers, recipe.kept_of, name)
  return CompressedModel(
    stripped, recipe, bits_by_layer, pruned_layers, tuple(losses)
  )


def _bits_by_layer(model: tf.keras.Model, weight_bits: int) -> dict[str, int]:
  """Returns the bits of every kernel; norms and biases stay float."""
  bits = {}
  for layer in model.layers:
    if isinstance(layer, tf.keras.layers.Dense):
      bits[layer.name] = weight_bits
    elif kernel_name(layer) is not None:
      bits[layer.name] = max(weight_bits, _CONVOLUTION_BITS)
  return bits


def _check_finite(model: tf.keras.Model) -> None:
  """Raises InputError if a weight is not a finite number."""
  for weight in model.weights:
    if not bool(tf.reduce_all(tf.math.is_finite(weight))):
      raise InputError(
        f"found weights of {weight.name} that are not numbers, expected a"
        " trained model: train it again, perhaps with a lower learning rate"
      )

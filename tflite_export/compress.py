"""Applies a recipe: plain Keras in, plain Keras on the grid out."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from lingvo_lite.quantization.grid import channel_axis, find_grid
from lingvo_lite.stage.errors import InputError
from tflite_export.distillation import fine_tuning_loss
from tflite_export.fine_tuning import FineTuning, gradients_of
from tflite_export.offline_model import check_layers
from tflite_export.pruning.least_squares import refit
from tflite_export.pruning.mask_schedule import MaskSchedule
from tflite_export.pruning.n_of_m import check_kept_of, prunable_layers, prune
from tflite_export.qat.quantizers import (
  KernelRule,
  kernel_name,
  kernel_of,
  mask_update,
  quantize_aware,
)
from tflite_export.recipes import Recipe
from tflite_export.sensitivity import (
  assign,
  check_budget,
  choices_of,
  measure_sensitivity,
)
from tflite_export.strip import strip

Batches = Callable[[], Iterable[dict[str, tf.Tensor]]]

# Convolutions are 1% of the weights, and few weights feed each output.
_CONVOLUTION_BITS = 8
# About 8 minutes of speech for the default batches.
_REFIT_BATCHES = 12
_SENSITIVITY_BATCHES = 2


@dataclasses.dataclass(frozen=True, eq=False)
class CompressedModel:
  """A compressed model as plain Keras.

  Attributes:
    model: its quantised kernels hold `scale * integer`.
    recipe: what was done to it.
    bits_by_layer: layer name -> bits, of the layers with quantised kernels.
    pruned_layers: names of the layers with pruned kernels.
    losses: of each step of the fine-tuning.
    mask_churn: of each choice of the masks: the fraction of the kept weights
      that were not kept before.
  """

  model: tf.keras.Model
  recipe: Recipe
  bits_by_layer: dict[str, int]
  pruned_layers: tuple[str, ...]
  losses: tuple[float, ...] = ()
  mask_churn: tuple[float, ...] = ()


def compress(
  model: tf.keras.Model,
  recipe: Recipe,
  make_batches: Batches,
  teacher: tf.keras.Model | None = None,
) -> CompressedModel:
  """Prunes, refits what is kept, quantises with fine-tuning, then strips.

  Args:
    model: the trained float model; left as it is.
    recipe: what to do.
    make_batches: gives endless speech to fine-tune on; called only when the
      recipe prunes or fine-tunes.
    teacher: whose answers the fine-tuning learns; left out: `model`. A model
      that was pruned and healed still has something to learn from the dense
      one.

  Returns:
    The compressed model; what its layers hold was checked.

  Raises:
    InputError: a weight is not finite, the recipe does not fit the model, or
      there is no speech.
  """
  check_fits(model, recipe)
  if recipe.is_float32:
    return CompressedModel(model, recipe, {}, ())
  bits_by_layer, pruned_layers = _assignment(model, recipe, make_batches)
  start, masks = model, {}
  if recipe.kept_of is not None and pruned_layers:
    start, masks = _pruned(model, recipe.kept_of, pruned_layers, make_batches)
  rules = {
    name: KernelRule(
      bits_by_layer.get(name),
      train_clips=recipe.train_clips,
      dropped_decay=recipe.dropped_decay if name in masks else 0.0,
      noise=recipe.weight_noise,
    )
    for name in {**bits_by_layer, **masks}
  }
  wrapped = quantize_aware(start, rules, masks)
  losses, churn = _fine_tune(
    wrapped, teacher or model, recipe, tuple(masks), make_batches
  )
  stripped = strip(wrapped, model, rules)
  if recipe.kept_of is not None:
    for name in masks:
      kernel = kernel_of(stripped.get_layer(name)).numpy()
      if name in bits_by_layer:
        kernel = find_grid(kernel, bits_by_layer[name]).integers
      check_kept_of(kernel, recipe.kept_of, name)
  return CompressedModel(
    stripped, recipe, bits_by_layer, tuple(masks), tuple(losses), tuple(churn)
  )


def check_fits(model: tf.keras.Model, recipe: Recipe) -> None:
  """Raises InputError if a recipe does not fit a model, before time is spent.

  Args:
    model: the trained float model.
    recipe: what is to be done to it.
  """
  check_layers(model)
  _check_finite(model)
  if recipe.kept_of is not None:
    prunable_layers(model, recipe.kept_of)
  if recipe.weight_bits is not None or recipe.mean_bits is not None:
    _check_channels(model)
  check_budget(recipe.mean_bits, recipe.kept_of)


def _pruned(
  model: tf.keras.Model,
  kept_of: tuple[int, int],
  names: Sequence[str],
  make_batches: Batches,
) -> tuple[tf.keras.Model, dict[str, np.ndarray]]:
  """Returns the model with its kept weights refitted, and the masks.

  The weights that are not kept have their old values, so that they can come
  back when masks are chosen anew.
  """
  pruned = prune(model, kept_of, names)
  masks = {
    name: (pruned.get_layer(name).kernel.numpy() != 0).astype(np.float32)
    for name in names
  }
  speech = list(itertools.islice(make_batches(), _REFIT_BATCHES))
  if not speech:
    raise InputError(
      "found no speech to fit the kept weights to, expected some: give speech"
      " below server/"
    )
  refit(pruned, model, names, speech)
  for name, mask in masks.items():
    kernel = pruned.get_layer(name).kernel
    old = model.get_layer(name).kernel
    kernel.assign(tf.where(mask > 0, kernel, old))
  return pruned, masks


def _fine_tune(
  wrapped: tf.keras.Model,
  teacher: tf.keras.Model,
  recipe: Recipe,
  pruned_layers: tuple[str, ...],
  make_batches: Batches,
) -> tuple[list[float], list[float]]:
  """Returns the losses and the churn of the masks."""
  if not recipe.fine_tune_steps:
    return [], []
  loss_fn = fine_tuning_loss(wrapped, teacher, recipe.transcript_fraction)
  schedule = MaskSchedule(recipe.mask_updates, recipe.mask_update_every)
  churn: list[float] = []

  def before_step(index: int) -> None:
    # The first masks were chosen by `prune`.
    # A mixed recipe may have found nothing to prune.
    if index and pruned_layers and schedule.is_due(index):
      churn.append(update())
      logging.info(
        "%s: step %d changed %.3g of the kept", recipe.name, index, churn[-1]
      )

  if pruned_layers and recipe.kept_of is not None:
    update = mask_update(wrapped, pruned_layers, recipe.kept_of)
  training = FineTuning(
    wrapped,
    gradients_of(wrapped, loss_fn),
    recipe.fine_tune_steps,
    recipe.learning_rate,
  )
  losses = training.run(make_batches(), recipe.name, before_step)
  return losses, churn


def _assignment(
  model: tf.keras.Model, recipe: Recipe, make_batches: Batches
) -> tuple[dict[str, int], tuple[str, ...]]:
  """Returns the bits of every kernel that is quantised, and what is pruned.

  Norms and biases stay float.
  """
  matrices = [
    layer.name
    for layer in model.layers
    if isinstance(layer, tf.keras.layers.Dense)
  ]
  pruned = () if recipe.kept_of is None else tuple(matrices)
  if recipe.mean_bits is not None:
    chosen = assign(
      measure_sensitivity(
        model,
        matrices,
        choices_of(recipe.kept_of),
        itertools.islice(make_batches(), _SENSITIVITY_BATCHES),
      ),
      {
        name: model.get_layer(name).kernel.shape.num_elements()
        for name in matrices
      },
      recipe.mean_bits,
    )
    bits = {name: choice.bits for name, choice in chosen.items()}
    pruned = tuple(name for name in matrices if chosen[name].kept_of)
  elif recipe.weight_bits is not None:
    bits = dict.fromkeys(matrices, recipe.weight_bits)
  else:
    return {}, pruned
  for layer in model.layers:
    if layer.name not in bits and kernel_name(layer) is not None:
      bits[layer.name] = _CONVOLUTION_BITS
  return bits, pruned


def _check_finite(model: tf.keras.Model) -> None:
  """Raises InputError if a weight is not a finite number."""
  for weight in model.weights:
    if not bool(tf.reduce_all(tf.math.is_finite(weight))):
      raise InputError(
        f"found weights of {weight.name} that are not numbers, expected a"
        " trained model: train it again, perhaps with a lower learning rate"
      )


def _check_channels(model: tf.keras.Model) -> None:
  """Raises InputError if a kernel has an output channel of zeros alone."""
  for layer in model.layers:
    if kernel_name(layer) is None:
      continue
    kernel = kernel_of(layer).numpy()
    used = np.moveaxis(kernel, channel_axis(kernel.ndim), 0).any(
      axis=tuple(range(1, kernel.ndim))
    )
    if not used.all():
      raise InputError(
        f"found output channel {int(np.argmin(used))} of {layer.name} to be all"
        " zeros, expected weights to set its scale by: the model is not"
        " trained, or a unit of it is dead; train it again or cut the unit out"
      )

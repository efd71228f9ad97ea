"""A compressed model, trained by clients at the weights that will ship.

What //tflite_export:compress made in one place goes on learning from private
speech: clients hold float weights and move those, but each loss and gradient is
that of the weights on their grid (straight-through, as in the fine-tuning of
`tflite_export/qat`). A grid follows from the float weights alone, so updates
are plain differences, averaged as ever, and nothing else crosses the placement.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from fl.dropout.plan import DropoutPlan
from fl.dropout.sub_model import VariableSpec, flatten, unflatten
from fl.federated_config import FederatedConfig
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.model_file import save_model
from lingvo_lite.quantization.grid import (
  channel_scales,
  fake_quantize,
  find_grid,
  short_floats,
)
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import read_json, write_json
from lingvo_lite.training.ctc_objective import ctc_objective

_RECIPE = "recipe.json"
_BITS = range(2, 9)
_MEND = "compress the model again"


@dataclasses.dataclass(frozen=True, eq=False)
class QuantizedKernel:
  """How a kernel is quantised.

  Attributes:
    bits: of an integer.
    mask: bool, false where a weight was pruned, of the kernel's shape; None:
      the kernel is whole.
  """

  bits: int
  mask: np.ndarray | None

  def masked(self, kernel: tf.Tensor) -> tf.Tensor:
    """Returns a kernel without what was pruned."""
    return kernel if self.mask is None else tf.where(self.mask, kernel, 0.0)

  def fake_quantized(self, kernel: tf.Tensor) -> tf.Tensor:
    """Returns a kernel on its grid; see `grid.py` for its gradient.

    The scale follows the largest weight, as nobody trains clips here: those of
    the fine-tuning are in the weights already.
    """
    kernel = self.masked(kernel)
    return fake_quantize(kernel, channel_scales(kernel, self.bits), self.bits)

  def on_grid(self, kernel: tf.Tensor) -> np.ndarray:
    """Returns the same as an exporter will find it, scale * integer."""
    return find_grid(self.masked(kernel).numpy(), self.bits).values


@dataclasses.dataclass(frozen=True, eq=False)
class QuantizedModel:
  """Which weights of a model are quantised and pruned, and how.

  Attributes:
    recipe: recipe.json as it was read; it goes with the trained model.
    specs: of the model's variables.
    kernels: how each quantised kernel is, by its place among the variables.
  """

  recipe: Mapping[str, Any]
  specs: tuple[VariableSpec, ...]
  kernels: Mapping[int, QuantizedKernel]

  @classmethod
  def read(
    cls, folder: str, specs: Sequence[VariableSpec], weights: np.ndarray
  ) -> "QuantizedModel":
    """Reads what //tflite_export:compress wrote beside model.keras.

    Args:
      folder: of the compressed model.
      specs: of its variables.
      weights: float32[P], its own: zeros of pruned layers stay zero.

    Raises:
      InputError: the recipe is missing, damaged, of another model, or
        quantises nothing.
    """
    path = cls.path(folder)
    recipe = read_json(path, "the recipe of a compressed model (recipe.json)")
    places = {
      spec.name.rpartition("/")[0]: place
      for place, spec in enumerate(specs)
      if spec.name.endswith("kernel:0")
    }
    try:
      name = recipe["recipe"]["name"]
      bits_by_layer = dict(recipe["bits_by_layer"])
      pruned = set(recipe["pruned_layers"])
      unknown = ({*bits_by_layer} | pruned) - {*places}
      if unknown:
        raise ValueError(f"no kernel of {min(unknown)!r} in the model")
      for layer, bits in bits_by_layer.items():
        if bits not in _BITS:
          raise ValueError(f"{bits} bits for {layer}")
    except (KeyError, TypeError, ValueError) as error:
      raise InputError(
        f"found {path} damaged or of another model ({error}), expected what"
        f" compress writes: {_MEND}"
      ) from error
    if not bits_by_layer:
      raise InputError(
        f"found the recipe {name}, which quantises nothing, in {path}, expected"
        " one with bits for the weights, such as int4: train this model without"
        " --quantized; --keep_zeros keeps it pruned"
      )
    left_out = sorted({*places} - {*bits_by_layer})
    if left_out:
      raise InputError(
        f"found the kernel of {left_out[0]} to stay float in {path}, expected"
        f" every kernel to be quantised, as the exporter does: {_MEND}"
      )
    values = unflatten(tf.constant(weights), [spec.shape for spec in specs])
    kernels = {}
    for layer, bits in bits_by_layer.items():
      mask = None
      if layer in pruned:
        mask = values[places[layer]].numpy() != 0
      kernels[places[layer]] = QuantizedKernel(bits, mask)
    model = cls(recipe, tuple(specs), kernels)
    if not np.array_equal(model.on_grid(weights), weights):
      raise InputError(
        f"found weights that do not lie on the grid of {path}, expected the"
        f" model.keras that was written with it: {_MEND}"
      )
    return model

  @staticmethod
  def path(folder: str) -> str:
    """Returns where the recipe of a folder is written down."""
    return os.path.join(folder, _RECIPE)

  def check(
    self, plans: Sequence[DropoutPlan], config: FederatedConfig
  ) -> None:
    """Raises InputError where a run cannot train a model of integers.

    Args:
      plans: how wide the clients' layers are, in each tier.
      config: of the run.
    """
    if not all(plan.is_whole for plan in plans):
      raise InputError(
        "found --quantized with a dropout plan that leaves units out, expected"
        " the full model: the scale of a channel, and which of its weights are"
        " kept, are those of whole layers; train without --plan or --tiers"
      )
    if config.keep_zeros:
      raise InputError(
        "found --keep_zeros with --quantized, expected --quantized alone: what"
        " was pruned stays zero anyhow, and other zeros are small weights that"
        " were rounded, and are to learn"
      )

  def gradients(
    self, model: tf.keras.Model, batch: dict[str, tf.Tensor], seed: tf.Tensor
  ) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Returns the loss of the quantised model and the float weights' gradients.

    Args:
      model: the full model, of a client or of the server; its float weights are
        put back afterwards.
      batch: as `ctc_objective` takes it.
      seed: int32[2]; nothing is drawn.
    """
    del seed
    variables = model.trainable_variables
    kernels = [variables[place] for place in self.kernels]
    exact = [tf.identity(kernel) for kernel in kernels]
    with tf.GradientTape() as rounding:
      rounding.watch(exact)
      rounded = [
        how.fake_quantized(value)
        for how, value in zip(self.kernels.values(), exact, strict=True)
      ]
    for kernel, value in zip(kernels, rounded, strict=True):
      kernel.assign(value)
    with tf.GradientTape() as tape:
      loss = ctc_objective(model, batch)
    gradients = tape.gradient(loss, variables)
    through = rounding.gradient(
      rounded, exact, [gradients[place] for place in self.kernels]
    )
    for place, gradient in zip(self.kernels, through, strict=True):
      gradients[place] = gradient
    for kernel, value in zip(kernels, exact, strict=True):
      kernel.assign(value)
    return loss, gradients

  def on_grid(self, weights: np.ndarray) -> np.ndarray:
    """Returns float32[P] as it ships: kernels on their grids, vectors short.

    Args:
      weights: float32[P], as they are trained.
    """
    values = unflatten(
      tf.constant(weights), [spec.shape for spec in self.specs]
    )
    shipped = [
      self.kernels[place].on_grid(value)
      if place in self.kernels
      else short_floats(value)
      for place, value in enumerate(values)
    ]
    return flatten(shipped).numpy()

  def save(
    self, model: tf.keras.Model, config: ConformerConfig, folder: str
  ) -> list[str]:
    """Writes what //tflite_export:export reads; returns the paths.

    Args:
      model: trained, its weights on their grids.
      config: its configuration.
      folder: made if it is not there.
    """
    paths = [os.path.join(folder, "model.keras"), self.path(folder)]
    save_model(model, config, paths[0])
    write_json(paths[1], dict(self.recipe))
    return paths

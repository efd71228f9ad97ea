"""Trains one set of weights to work at every level of a ladder.

Each step runs the densest level, the sparsest, and some levels between that are
drawn anew. The densest learns the transcripts; the others learn what the
densest of the same step answers (in-place distillation). The gradients are
added up and move the shared weights once: a level moves what it keeps.

References: Wu et al. 2020, "Dynamic Sparsity Neural Networks for Automatic
Speech Recognition"; the step is that of Yu and Huang 2019, "Universally
Slimmable Networks and Improved Training Techniques", section 3.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from lingvo_lite.dynamic_sparsity.block_masks import (
  block_ranks,
  find_block_layers,
  kept_blocks,
  weight_mask,
)
from lingvo_lite.dynamic_sparsity.dynamic_model import DynamicModel
from lingvo_lite.dynamic_sparsity.levels import SparsityLevels
from lingvo_lite.dynamic_sparsity.passes import gradients_of_passes
from lingvo_lite.stage.errors import InputError
from tflite_export.dynamic_sparsity.layer_sparsity import LayerSparsity
from tflite_export.dynamic_sparsity.ramp import CubicRamp
from tflite_export.fine_tuning import Batch, FineTuning


@dataclasses.dataclass(frozen=True)
class DynamicTraining:
  """How to train a ladder.

  Attributes:
    steps: updates of the shared weights.
    sampled_levels: levels drawn between the densest and the sparsest, a step.
    learning_rate: highest one.
    ramp_fraction: part of the steps in which sparsities rise from 0, by the
      cubic schedule; after it masks are frozen.
    mask_every: steps between choices of the masks in the ramp.
    seed: of the drawn levels.
  """

  steps: int = 400
  sampled_levels: int = 1
  learning_rate: float = 1e-3
  ramp_fraction: float = 0.5
  mask_every: int = 10
  seed: int = 0

  def __post_init__(self):
    for name, least in (("steps", 1), ("sampled_levels", 0), ("mask_every", 1)):
      if getattr(self, name) < least:
        raise InputError(
          f"found {name} {getattr(self, name)}, expected {least} or more"
        )
    if not 0 < self.ramp_fraction < 1:
      raise InputError(
        f"found ramp_fraction {self.ramp_fraction}, expected one in (0, 1)"
      )
    if self.ramp_steps >= self.steps:
      raise InputError(
        f"found {self.steps} steps, of which the first {self.ramp_steps} raise"
        f" the sparsity, expected more than {self.ramp_steps}: the sparsest"
        " weights are to be trained as well"
      )

  @property
  def ramp_steps(self) -> int:
    """The step at which sparsities are reached; masks are chosen there last."""
    updates = int(self.ramp_fraction * self.steps / self.mask_every)
    return max(updates, 1) * self.mask_every

  def passes(self, levels: SparsityLevels) -> int:
    """Returns how many times a step runs the model."""
    between = max(len(levels.sparsities) - 2, 0)
    return min(len(levels.sparsities), 2) + min(self.sampled_levels, between)


def train_dynamic(
  model: tf.keras.Model,
  levels: SparsityLevels,
  sparsity: LayerSparsity,
  config: DynamicTraining,
  batches: Iterable[Batch],
) -> DynamicModel:
  """Trains; with one level, this is plain training at one sparsity.

  Args:
    model: the trained float model; left as it is.
    levels: the ladder.
    sparsity: of each layer that `find_block_layers` calls sparse.
    config: how to train.
    batches: endless speech.

  Returns:
    The trained model with its masks.

  Raises:
    InputError: no layer fits the block, the loss is no number, or there is too
      little speech.
  """
  layers = find_block_layers(model, levels.block)
  shared = tf.keras.models.clone_model(model)
  shared.set_weights(model.get_weights())
  table = np.array([sparsity[name] for name in layers.sparse])
  step = _Step(shared, layers.sparse, table, levels, config)
  training = FineTuning(
    shared, step.gradients, config.steps, config.learning_rate
  )
  losses = training.run(batches, "dynamic sparsity", step.prepare)
  return DynamicModel(
    shared, levels, step.kept_levels(), layers.dense, tuple(losses)
  )


def prune_dynamic(
  model: tf.keras.Model, levels: SparsityLevels, sparsity: LayerSparsity
) -> DynamicModel:
  """Zeroes the blocks of least magnitude at each level; nothing is trained.

  Args:
    model: the trained float model; left as it is.
    levels: the ladder.
    sparsity: of each layer that `find_block_layers` calls sparse.
  """
  layers = find_block_layers(model, levels.block)
  copy = tf.keras.models.clone_model(model)
  copy.set_weights(model.get_weights())
  kept = {}
  for name in layers.sparse:
    ranks = block_ranks(copy.get_layer(name).kernel, levels.block)
    kept[name] = _kept_levels(ranks, sparsity[name])
  return DynamicModel(copy, levels, kept, layers.dense)


class _Step:
  """One step: several passes over a batch with different masks.

  Args:
    model: trained in place.
    names: of its sparse layers.
    table: float[layers, levels], their sparsities.
    levels: the ladder.
    config: how to train.
  """

  def __init__(
    self,
    model: tf.keras.Model,
    names: Sequence[str],
    table: np.ndarray,
    levels: SparsityLevels,
    config: DynamicTraining,
  ):
    self._model = model
    self._names = tuple(names)
    self._kernels = [model.get_layer(name).kernel for name in names]
    self._table = table
    self._levels = levels
    self._config = config
    self._passes = config.passes(levels)
    self._ranks = [
      tf.Variable(block_ranks(kernel, levels.block), trainable=False)
      for kernel in self._kernels
    ]
    self._sparsity = tf.Variable(
      tf.zeros([self._passes, len(names)]), trainable=False
    )
    self._ramp = CubicRamp(config.ramp_steps, config.mask_every)
    self._reached = 0.0

    @tf.function
    def choose_masks() -> None:
      for ranks, kernel in zip(self._ranks, self._kernels, strict=True):
        ranks.assign(block_ranks(kernel, levels.block))

    self._choose_masks = choose_masks

  def prepare(self, index: int) -> None:
    """Sets the sparsities of the passes of a step, counted from 0."""
    due, reached = self._ramp(index)
    if due:
      self._choose_masks()
      self._reached = reached
    chosen = self._drawn(index)
    self._sparsity.assign(
      tf.constant(self._reached * self._table[:, chosen].T, tf.float32)
    )

  def _drawn(self, index: int) -> list[int]:
    """Returns the levels of a step: densest, drawn ones, sparsest."""
    count = len(self._levels.sparsities)
    random = np.random.default_rng([self._config.seed, index])
    between = random.permutation(np.arange(1, max(count - 1, 1)))
    ends = [0] if count == 1 else [0, count - 1]
    drawn = [int(level) for level in between[: self._passes - len(ends)]]
    return ends[:1] + drawn + ends[1:]

  def gradients(self, batch: Batch) -> tuple[tf.Tensor, Sequence[tf.Tensor]]:
    """Returns the sum of the passes' losses and of their gradients."""
    masks = [
      [
        weight_mask(
          kept_blocks(self._ranks[at], self._sparsity[which, at]),
          self._levels.block,
        )
        for at in range(len(self._kernels))
      ]
      for which in range(self._passes)
    ]
    return gradients_of_passes(self._model, self._kernels, masks, batch)

  def kept_levels(self) -> Mapping[str, np.ndarray]:
    """Returns how many levels keep each block, of each layer."""
    return {
      name: _kept_levels(ranks, row)
      for name, ranks, row in zip(
        self._names, self._ranks, self._table, strict=True
      )
    }


def _kept_levels(ranks: tf.Tensor, sparsities: Sequence[float]) -> np.ndarray:
  """Returns uint8 of the ranks' shape: how many levels keep each block."""
  kept = [kept_blocks(ranks, tf.constant(s, tf.float32)) for s in sparsities]
  return np.sum([mask.numpy() for mask in kept], axis=0).astype(np.uint8)

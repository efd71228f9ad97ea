"""A ladder of sparsities, trained by clients as by the server.

What //tflite_export:train_dynamic_sparsity made in one place goes on learning
from private speech: each local step runs the densest level, the sparsest and
one between that is drawn anew, all moving the same weights. Which blocks a
level keeps stays as it is, so nothing about masks crosses the placement.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from fl.dropout.plan import DropoutPlan
from fl.dropout.sub_model import VariableSpec
from lingvo_lite.dynamic_sparsity.block_masks import weight_mask
from lingvo_lite.dynamic_sparsity.dynamic_model import (
  LEVELS,
  DynamicModel,
  load_dynamic,
  save_dynamic,
)
from lingvo_lite.dynamic_sparsity.levels import level_name
from lingvo_lite.dynamic_sparsity.passes import gradients_of_passes
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.stage.errors import InputError

# Past the numbers of layers, whose dropout draws from the same seed.
_SALT = 2_000_000


@dataclasses.dataclass(frozen=True, eq=False)
class Ladder:
  """Levels of sparsity that share one set of weights.

  Attributes:
    dynamic: the levels and which blocks they keep. The weights of its model are
      where training begins; they are not looked at here.
  """

  dynamic: DynamicModel

  @classmethod
  def read(cls, folder: str) -> "Ladder":
    """Reads what //tflite_export:train_dynamic_sparsity wrote.

    Raises:
      InputError: it is missing, damaged or of another model.
    """
    dynamic, _ = load_dynamic(folder)
    return cls(dynamic)

  @staticmethod
  def path(folder: str) -> str:
    """Returns where the ladder of a folder is written down."""
    return os.path.join(folder, LEVELS)

  def check(self, plans: Sequence[DropoutPlan]) -> None:
    """Raises InputError where clients would get parts of the model."""
    if not all(plan.is_whole for plan in plans):
      raise InputError(
        "found --dynamic_sparsity with a dropout plan that leaves units out,"
        " expected the full model: the blocks of a ladder are those of whole"
        " layers; train without --plan or --tiers"
      )

  def gradients(
    self, model: tf.keras.Model, batch: dict[str, tf.Tensor], seed: tf.Tensor
  ) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Returns the sums of the passes' losses and gradients.

    Args:
      model: the full model, of a client or of the server.
      batch: as `ctc_objective` takes it.
      seed: int32[2], of the level that is drawn.
    """
    levels, kept_levels = self.dynamic.levels, self.dynamic.kept_levels
    last = len(levels.sparsities) - 1
    chosen = [tf.constant(0)]
    if last > 1:
      drawn = tf.random.experimental.stateless_fold_in(seed, _SALT)
      chosen.append(
        tf.random.stateless_uniform([], drawn, 1, last, dtype=tf.int32)
      )
    if last:
      chosen.append(tf.constant(last))
    kernels = [model.get_layer(name).kernel for name in kept_levels]
    masks = [
      [
        weight_mask(tf.cast(kept, tf.int32) > level, levels.block)
        for kept in kept_levels.values()
      ]
      for level in chosen
    ]
    return gradients_of_passes(model, kernels, masks, batch)

  def weights_at(
    self,
    sparsity: float,
    weights: np.ndarray,
    specs: Sequence[VariableSpec],
  ) -> np.ndarray:
    """Returns float32[P] with what a level drops set to zero.

    Args:
      sparsity: one of the levels.
      weights: float32[P], shared by all levels.
      specs: of the model's variables.
    """
    masked, start = weights.copy(), 0
    for spec in specs:
      layer, _, variable = spec.name.rpartition("/")
      if variable == "kernel:0" and layer in self.dynamic.kept_levels:
        kept = self.dynamic.kept(layer, sparsity)
        mask = np.repeat(kept, self.dynamic.levels.block, axis=0)
        masked[start : start + spec.size] *= mask.reshape(-1)
      start += spec.size
    return masked

  def measure_levels(
    self,
    weights: np.ndarray,
    specs: Sequence[VariableSpec],
    measure: Callable[[np.ndarray], dict[str, float]],
  ) -> dict[str, dict[str, float]]:
    """Returns the error rates of each level, by its name.

    Args:
      weights: float32[P], shared by all levels.
      specs: of the model's variables.
      measure: from weights to error rates.
    """
    return {
      level_name(sparsity): measure(self.weights_at(sparsity, weights, specs))
      for sparsity in self.dynamic.levels.sparsities
    }

  def save(
    self, model: tf.keras.Model, config: ConformerConfig, folder: str
  ) -> list[str]:
    """Writes the trained model and its ladder; returns their paths."""
    return save_dynamic(
      dataclasses.replace(self.dynamic, model=model), config, folder
    )

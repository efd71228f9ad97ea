"""One set of weights that works at several sparsities, in memory and on disk.

On disk it is `model.keras` (all weights, the dense level's) and
`dynamic_sparsity.json` (the ladder, and how many levels keep each block).
"""

import base64
import dataclasses
import os
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from lingvo_lite.dynamic_sparsity.block_masks import weight_mask
from lingvo_lite.dynamic_sparsity.levels import SparsityLevels
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.model_file import load_model, save_model
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import read_json, write_json

MODEL = "model.keras"
LEVELS = "dynamic_sparsity.json"


@dataclasses.dataclass(frozen=True, eq=False)
class DynamicModel:
  """A model and which of its blocks each level keeps.

  Attributes:
    model: plain Keras; its weights are shared by all levels.
    levels: the ladder.
    kept_levels: layer -> uint8[inputs / block, outputs]: how many of the
      levels, counted from the densest, keep the block. Masks cannot help being
      nested.
    dense_layers: layer -> why it is dense at all levels.
    losses: of each step of the training.
  """

  model: tf.keras.Model
  levels: SparsityLevels
  kept_levels: Mapping[str, np.ndarray]
  dense_layers: Mapping[str, str]
  losses: tuple[float, ...] = ()

  def kept(self, name: str, sparsity: float) -> np.ndarray:
    """Returns bool[inputs / block, outputs]: what a level keeps of a layer."""
    return self.kept_levels[name] > self.levels.index(sparsity)

  def at(self, sparsity: float) -> tf.keras.Model:
    """Returns a plain model of its own with what a level drops set to zero.

    Raises:
      InputError: there is no such level.
    """
    self.levels.index(sparsity)
    masked = tf.keras.models.clone_model(self.model)
    masked.set_weights(self.model.get_weights())
    for name in self.kept_levels:
      kernel = masked.get_layer(name).kernel
      mask = weight_mask(self.kept(name, sparsity), self.levels.block)
      kernel.assign(kernel * mask)
    return masked

  def found_sparsity(self, sparsity: float) -> float:
    """Returns the fraction of the sparse layers' weights that a level drops."""
    kept = [self.kept(name, sparsity) for name in self.kept_levels]
    return 1 - sum(k.sum() for k in kept) / sum(k.size for k in kept)


def save_dynamic(
  dynamic: DynamicModel, config: ConformerConfig, folder: str
) -> list[str]:
  """Writes both files and returns their paths."""
  paths = [os.path.join(folder, MODEL), os.path.join(folder, LEVELS)]
  save_model(dynamic.model, config, paths[0])
  write_json(
    paths[1],
    {
      "schema_version": 1,
      "levels": dataclasses.asdict(dynamic.levels),
      "kept_levels": {
        name: _packed(array) for name, array in dynamic.kept_levels.items()
      },
      "dense_layers": dict(dynamic.dense_layers),
      "losses": [round(loss, 6) for loss in dynamic.losses],
    },
  )
  return paths


def load_dynamic(folder: str) -> tuple[DynamicModel, ConformerConfig]:
  """Reads what `save_dynamic` wrote.

  Raises:
    InputError: a file is missing, damaged, or they do not fit each other.
  """
  path = os.path.join(folder, LEVELS)
  values = read_json(path, "a ladder of sparsities (dynamic_sparsity.json)")
  model, config = load_model(os.path.join(folder, MODEL))
  try:
    levels = SparsityLevels(
      tuple(values["levels"]["sparsities"]), values["levels"]["block"]
    )
    kept = {}
    for name, packed in values["kept_levels"].items():
      inputs, outputs = model.get_layer(name).kernel.shape
      if inputs % levels.block:
        raise ValueError(f"blocks of {levels.block} in {name}")
      kept[name] = _unpacked(packed, (inputs // levels.block, outputs))
      if kept[name].max() > len(levels.sparsities):
        raise ValueError(f"a level that there is not, in {name}")
    dynamic = DynamicModel(
      model,
      levels,
      kept,
      dict(values["dense_layers"]),
      tuple(values["losses"]),
    )
  except InputError:
    raise
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise InputError(
      f"found {path} damaged or of another model ({error}), expected what"
      " train_dynamic_sparsity writes: train again"
    ) from error
  return dynamic, config


def _packed(array: np.ndarray) -> str:
  """Returns the bytes of an array as text, a tenth of a list of numbers."""
  return base64.b64encode(zlib.compress(array.tobytes(), 9)).decode()


def _unpacked(text: Any, shape: tuple[int, int]) -> np.ndarray:
  try:
    contents = zlib.decompress(base64.b64decode(text, validate=True))
  except zlib.error as error:
    raise ValueError(str(error)) from error
  return np.frombuffer(contents, np.uint8).reshape(shape)

"""A compressed model on disk: `model.keras` and `recipe.json` in one folder."""

import dataclasses
import os

from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.model_file import load_model, save_model
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import read_json, write_json
from tflite_export.compress import CompressedModel
from tflite_export.recipes import Recipe

MODEL = "model.keras"
RECIPE = "recipe.json"


def save_compressed(
  compressed: CompressedModel, config: ConformerConfig, folder: str
) -> list[str]:
  """Writes both files.

  Args:
    compressed: what to write.
    config: the model's configuration.
    folder: made if it is not there.

  Returns:
    Their paths.
  """
  paths = [os.path.join(folder, MODEL), os.path.join(folder, RECIPE)]
  save_model(compressed.model, config, paths[0])
  write_json(
    paths[1],
    {
      "schema_version": 1,
      "recipe": dataclasses.asdict(compressed.recipe),
      "bits_by_layer": compressed.bits_by_layer,
      "pruned_layers": list(compressed.pruned_layers),
      "losses": [round(loss, 6) for loss in compressed.losses],
      "mask_churn": [round(churn, 6) for churn in compressed.mask_churn],
    },
  )
  return paths


def load_compressed(folder: str) -> tuple[CompressedModel, ConformerConfig]:
  """Reads what `save_compressed` wrote.

  Raises:
    InputError: a file is missing, damaged, or not of this release.
  """
  path = os.path.join(folder, RECIPE)
  values = read_json(path, "the recipe of a compressed model (recipe.json)")
  model, config = load_model(os.path.join(folder, MODEL))
  try:
    fields = dict(values["recipe"])
    if fields.get("kept_of") is not None:
      fields["kept_of"] = tuple(fields["kept_of"])
    compressed = CompressedModel(
      model,
      Recipe(**fields),
      dict(values["bits_by_layer"]),
      tuple(values["pruned_layers"]),
      tuple(values["losses"]),
      tuple(values["mask_churn"]),
    )
    names = {layer.name for layer in model.layers}
    unknown = set(compressed.bits_by_layer) | set(compressed.pruned_layers)
    unknown -= names
    if unknown:
      raise KeyError(f"no layer {min(unknown)!r} in the model")
  except (KeyError, TypeError) as error:
    raise InputError(
      f"found {path} damaged ({error}), expected what compress writes:"
      " compress the model again"
    ) from error
  return compressed, config

"""A compressed Keras model to a checked .tflite file."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import whole_file
from lingvo_lite.text.vocabulary import CharacterVocabulary
from tflite_export.compress import CompressedModel
from tflite_export.convert import convert
from tflite_export.file_bytes import bytes_by_kind, flex_operations, gzip_bytes
from tflite_export.flatbuffer import describe, read_flatbuffer, seal, trim
from tflite_export.parity import check_parity
from tflite_export.qat.grid import find_grid
from tflite_export.qat.quantizers import kernel_of
from tflite_export.quantize import check_integers, quantize
from tflite_export.streaming_signatures import add_stream_ends


def export(
  compressed: CompressedModel,
  config: ConformerConfig,
  speech: Sequence[np.ndarray],
  training_data: str,
  path: str,
) -> dict[str, Any]:
  """Writes a .tflite file, if it computes what its Keras model computes.

  Args:
    compressed: the model.
    config: its configuration.
    speech: float32[S] each, 16 kHz, to compare on.
    training_data: what the model learned from, for the file's description.
    path: where the file goes.

  Returns:
    The figures of `export.json`.

  Raises:
    InputError: the file would be wrong; then none is left.
  """
  vocabulary = CharacterVocabulary()
  if config.vocabulary_size != vocabulary.size:
    raise InputError(
      f"found a model of {config.vocabulary_size} labels, expected"
      f" {vocabulary.size}: it was trained with another vocabulary"
    )
  grids = [
    find_grid(kernel_of(compressed.model.get_layer(name)).numpy(), bits)
    for name, bits in compressed.bits_by_layer.items()
  ]
  model = read_flatbuffer(quantize(convert(compressed.model, config), grids))
  trim(model)
  add_stream_ends(model)
  describe(
    model,
    vocabulary.labels,
    {
      "recipe": dataclasses.asdict(compressed.recipe),
      "model": config.to_dict(),
      "sample_rate_hz": 16_000,
      "training_data": training_data,
      "licence": "Apache-2.0",
    },
  )
  contents = seal(model)
  if grids:
    check_integers(contents, grids)
  with whole_file(path) as temporary:
    with open(temporary, "wb") as file:
      file.write(contents)
    parity = check_parity(temporary, compressed.model, speech, bool(grids))
  return {
    "recipe": compressed.recipe.name,
    "bytes": len(contents),
    "gzip_bytes": gzip_bytes(contents),
    "bytes_by_kind": bytes_by_kind(contents),
    "flex_ops": flex_operations(contents),
    "integer_kernels_equal_to_trained": len(grids),
    "parity": dataclasses.asdict(parity),
  }

"""A compressed Keras model to a checked .tflite file."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.quantization.grid import find_grid
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import whole_file
from lingvo_lite.text.vocabulary import CharacterVocabulary
from tflite_export.calibration import calibration_inputs
from tflite_export.compress import CompressedModel
from tflite_export.convert import convert
from tflite_export.file_bytes import bytes_by_kind, flex_operations, gzip_bytes
from tflite_export.flatbuffer import (
  describe,
  read_flatbuffer,
  seal,
  shorten_biases,
  trim,
)
from tflite_export.parity import check_parity
from tflite_export.qat.quantizers import kernel_name, kernel_of, leaf_name
from tflite_export.quantize import check_integers, quantize
from tflite_export.streaming_signatures import add_stream_ends
from tflite_export.transport import transport_path, write_transport


def export(
  compressed: CompressedModel,
  config: ConformerConfig,
  speech: Sequence[np.ndarray],
  training_data: str,
  path: str,
  static_activations: bool = False,
) -> dict[str, Any]:
  """Writes a .tflite file, if it computes what its Keras model computes.

  Beside it goes the same file in transport form, see `transport.py`.

  Args:
    compressed: the model.
    config: its configuration.
    speech: float32[S] each, 16 kHz, to compare on, and to set static ranges by.
    training_data: what the model learned from, for the file's description.
    path: where the file goes.
    static_activations: whether what goes into a matrix is rounded in a range
      that is set here, and not in that of each row as it runs.

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
  check_nothing_left_out(compressed)
  if static_activations and not compressed.bits_by_layer:
    raise InputError(
      f"found static activations for the recipe {compressed.recipe.name},"
      " expected integers for them to be multiplied with: leave out"
      " --static_activations, or compress with another recipe"
    )
  grids = [
    find_grid(kernel_of(compressed.model.get_layer(name)).numpy(), bits)
    for name, bits in compressed.bits_by_layer.items()
  ]
  floats = convert(compressed.model, config)
  calibration = (
    calibration_inputs(floats, speech) if static_activations else None
  )
  model = read_flatbuffer(quantize(floats, grids, calibration))
  trim(model)
  add_stream_ends(model)
  if grids:
    shorten_biases(model)
  describe(
    model,
    vocabulary.labels,
    {
      "recipe": dataclasses.asdict(compressed.recipe),
      "model": config.to_dict(),
      "sample_rate_hz": 16_000,
      "training_data": training_data,
      "licence": "Apache-2.0",
      **({"activations": "static"} if static_activations else {}),
    },
  )
  contents = seal(model)
  if grids:
    check_integers(contents, grids)
  with whole_file(path) as temporary:
    with open(temporary, "wb") as file:
      file.write(contents)
    parity = check_parity(temporary, compressed.model, speech, bool(grids))
    transport_bytes = write_transport(contents, transport_path(path))
  return {
    "recipe": compressed.recipe.name,
    "static_activations": static_activations,
    "bytes": len(contents),
    "gzip_bytes": gzip_bytes(contents),
    "transport_bytes": transport_bytes,
    "bytes_by_kind": bytes_by_kind(contents),
    "flex_ops": flex_operations(contents),
    "integer_kernels_equal_to_trained": len(grids),
    "stays_float": stays_float(compressed, len(contents), static_activations),
    "parity": dataclasses.asdict(parity),
  }


def with_static_name(compressed: CompressedModel) -> CompressedModel:
  """Returns the model as its file with static activations calls it.

  A recipe's file can be shipped both ways: everything that tells files apart
  goes by the recipe's name.
  """
  recipe = dataclasses.replace(
    compressed.recipe, name=f"{compressed.recipe.name}_static"
  )
  return dataclasses.replace(compressed, recipe=recipe)


def check_nothing_left_out(compressed: CompressedModel) -> None:
  """Raises InputError if a quantised model has a kernel that stays float.

  Vectors may: `stays_float` lists them.

  Args:
    compressed: the model.
  """
  if not compressed.bits_by_layer:
    return
  for layer in compressed.model.layers:
    kernels = [w for w in layer.weights if leaf_name(w).endswith("kernel")]
    if kernels and layer.name not in compressed.bits_by_layer:
      raise InputError(
        f"found the kernel of {layer.name} to stay float in the recipe"
        f" {compressed.recipe.name}, expected every kernel to be quantised:"
        " compress the model again"
      )


def stays_float(
  compressed: CompressedModel, file_bytes: int, static_activations: bool
) -> list[dict[str, Any]]:
  """Lists the weights that are no integers, the largest first.

  Args:
    compressed: the model.
    file_bytes: size of its .tflite file.
    static_activations: whether that has them; then biases of matrices are
      integers too.

  Returns:
    `{"layer", "weight", "bytes", "fraction_of_file"}` of each; the window, the
    mel filters and the scales, which no layer holds, are in `bytes_by_kind`.
  """
  rows = []
  for layer in compressed.model.layers:
    integers = []
    if layer.name in compressed.bits_by_layer:
      integers.append(kernel_name(layer))
      if static_activations and isinstance(layer, tf.keras.layers.Dense):
        integers.append("bias")
    for weight in layer.weights:
      if leaf_name(weight) in integers:
        continue
      size = 4 * weight.shape.num_elements()
      rows.append(
        {
          "layer": layer.name,
          "weight": leaf_name(weight),
          "bytes": size,
          "fraction_of_file": round(size / file_bytes, 6),
        }
      )
  return sorted(rows, key=lambda row: -row["bytes"])

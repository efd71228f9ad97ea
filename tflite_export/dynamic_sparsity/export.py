"""A trained ladder to checked .tflite files: one of all levels, one a level."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from lingvo_lite.dynamic_sparsity.dynamic_model import DynamicModel
from lingvo_lite.dynamic_sparsity.levels import level_name
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import whole_file
from lingvo_lite.text.vocabulary import CharacterVocabulary
from tflite_export.convert import convert
from tflite_export.cost import measure_speed
from tflite_export.dynamic_sparsity.all_levels import check_all_levels
from tflite_export.dynamic_sparsity.dynamic_recognizer import DynamicRecognizer
from tflite_export.dynamic_sparsity.exportable import check_exportable
from tflite_export.dynamic_sparsity.kernel_check import check_kernels
from tflite_export.dynamic_sparsity.level_signature import level_signature
from tflite_export.dynamic_sparsity.levels_file import expand_levels
from tflite_export.file_bytes import flex_operations
from tflite_export.flatbuffer import (
  describe,
  read_flatbuffer,
  seal,
  trim,
)
from tflite_export.interpreter import SIGNATURE, Recognizer
from tflite_export.parity import check_parity
from tflite_export.speech import SpokenUtterance

LEVELS_FILE = "dynamic_sparsity.tflite"


def export_levels(
  dynamic: DynamicModel,
  config: ConformerConfig,
  spoken: Sequence[SpokenUtterance],
  training_data: str,
  folder: str,
) -> dict[str, Any]:
  """Writes the file of all levels and a file a level, if they are right.

  Each level is compared with its Keras model on LiteRT with the default
  delegate, its kernels are looked up, and its time is measured against that of
  the next denser one. The file of all levels must compute what the levels' own
  files do, loaded whole and level by level.

  Args:
    dynamic: the trained ladder.
    config: of its model.
    spoken: to compare and to time on.
    training_data: what the model learned from, for the files' description.
    folder: where the files go.

  Returns:
    The figures of `export.json`.

  Raises:
    InputError: a file would be wrong; then it is not there.
  """
  vocabulary = CharacterVocabulary()
  check_exportable(
    dynamic.model, config, dynamic.levels, tuple(dynamic.kept_levels)
  )
  base = read_flatbuffer(convert(dynamic.model, config))
  trim(base)

  def sealed(name: str, signatures: Mapping[str, float]) -> bytes:
    model = expand_levels(base, dynamic, signatures)
    description = {
      "recipe": {"name": name},
      "model": config.to_dict(),
      "sample_rate_hz": 16_000,
      "training_data": training_data,
      "licence": "Apache-2.0",
      "sparsities": list(signatures.values()) if len(signatures) > 1 else [],
    }
    describe(model, vocabulary.labels, description)
    return seal(model)

  sparsities = dynamic.levels.sparsities
  pcm = [one.pcm for one in spoken]
  rows: list[dict[str, Any]] = []
  for sparsity in sparsities:
    name = f"dynamic_{level_name(sparsity)}"
    contents = sealed(name, {SIGNATURE: sparsity})
    path = os.path.join(folder, f"{name}.tflite")
    kernels = check_kernels(contents)
    if sparsity and not kernels.block_sparse:
      raise InputError(
        f"found no block-sparse matrix at the level {sparsity}, expected some:"
        " this is a fault of the exporter, please report it"
      )
    with whole_file(path) as temporary:
      with open(temporary, "wb") as file:
        file.write(contents)
      parity = check_parity(temporary, dynamic.at(sparsity), pcm, True)
    rows.append(
      {
        "level": level_name(sparsity),
        "sparsity": sparsity,
        "found_sparsity": round(dynamic.found_sparsity(sparsity), 5),
        "signature": level_signature(sparsity),
        "file": os.path.basename(path),
        "bytes": len(contents),
        "kernels": dataclasses.asdict(kernels),
        "flex_ops": flex_operations(contents),
        "parity": dataclasses.asdict(parity),
      }
    )
  paths = [os.path.join(folder, row["file"]) for row in rows]
  figures: dict[str, Any] = {"levels": rows, "dense_layers": {}}
  if len(sparsities) > 1:
    whole = sealed(
      "dynamic_sparsity", {level_signature(s): s for s in sparsities}
    )
    whole_path = os.path.join(folder, LEVELS_FILE)
    with whole_file(whole_path) as temporary:
      with open(temporary, "wb") as file:
        file.write(whole)
      # As an app in Kotlin loads it, and as one in Python does.
      check_all_levels(temporary, sparsities, paths, pcm)
      _check_same(temporary, sparsities, paths, pcm)
    figures["file"] = LEVELS_FILE
    figures["bytes"] = len(whole)
    separate = sum(row["bytes"] for row in rows)
    figures["bytes_of_separate_files"] = round(len(whole) / separate, 5)
    figures["shared_bytes"] = shared_bytes(read_flatbuffer(whole))
  figures["dense_layers"] = dict(dynamic.dense_layers)
  add_verdicts(rows, [s.latency_ms for s in measure_speed(paths, spoken)])
  return figures


def add_verdicts(
  rows: Sequence[dict[str, Any]], latencies_ms: Sequence[float]
) -> None:
  """Says of each level whether it is faster than the next denser one.

  Args:
    rows: of the levels, densest first; `latency_ms`, `is_improvement` (None of
      the densest) and `verdict` are added.
    latencies_ms: measured in turns.
  """
  before: float | None = None
  for row, latency in zip(rows, latencies_ms, strict=True):
    row["latency_ms"] = round(latency, 3)
    if before is None:
      row["is_improvement"] = None
      row["verdict"] = "the densest level"
    else:
      ratio = latency / before
      row["is_improvement"] = latency < before
      row["verdict"] = (
        f"{'an' if latency < before else 'no'} improvement: {ratio:.2f} of the"
        " next denser level's time"
      )
    before = latency


def shared_bytes(model: schema.ModelT) -> int:
  """Returns the bytes of constants that more than one graph refers to."""
  users: dict[int, int] = {}
  for graph in model.subgraphs:
    for buffer in {tensor.buffer for tensor in graph.tensors}:
      users[buffer] = users.get(buffer, 0) + 1
  return sum(
    len(model.buffers[buffer].data)
    for buffer, count in users.items()
    if count > 1 and model.buffers[buffer].data is not None
  )


def _check_same(
  path: str,
  sparsities: Sequence[float],
  level_paths: Sequence[str],
  speech: Sequence[np.ndarray],
) -> None:
  """Checks that the file of all levels computes what each level's file does."""
  recognizer = DynamicRecognizer(path)
  for sparsity, level_path in zip(sparsities, level_paths, strict=True):
    recognizer.use(sparsity)
    alone = Recognizer(level_path)
    for pcm in speech:
      found = recognizer.recognize(pcm).logits
      if not np.array_equal(found, alone.recognize(pcm).logits):
        raise InputError(
          f"found other logits at the level {sparsity} of the file of all"
          " levels than in its own file, expected the same: this is a fault of"
          " the exporter, please report it"
        )

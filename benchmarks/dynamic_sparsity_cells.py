"""The rows of the dynamic sparsity benchmark: train, recognise, export."""

import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jiwer
import tensorflow as tf

from benchmarks.block_kernel_timing import kernel_rows
from benchmarks.dynamic_sparsity_whole_file import measure_whole_file
from lingvo_lite.dynamic_sparsity.block_masks import find_block_layers
from lingvo_lite.dynamic_sparsity.dynamic_model import (
  DynamicModel,
  load_dynamic,
  save_dynamic,
)
from lingvo_lite.dynamic_sparsity.levels import SparsityLevels, level_name
from lingvo_lite.metrics.recognition import Recognizer
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.stage.files import read_json, write_json
from tflite_export.accuracy import accuracy, transcribe_all
from tflite_export.dynamic_sparsity.dynamic_recognizer import DynamicRecognizer
from tflite_export.dynamic_sparsity.export import LEVELS_FILE, export_levels
from tflite_export.dynamic_sparsity.layer_sparsity import uniform_sparsity
from tflite_export.dynamic_sparsity.training import (
  DynamicTraining,
  prune_dynamic,
  train_dynamic,
)
from tflite_export.peak_memory import peak_rss_bytes
from tflite_export.speech import SpokenUtterance

Row = dict[str, Any]

DYNAMIC, SINGLE, PRUNED = "dynamic", "single", "pruned"
_PARITY_UTTERANCES = 8
_SWITCHES = 200


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
  """What all rows share.

  Attributes:
    model: the trained float model.
    config: its configuration.
    model_sha256: of its file.
    training: how everything is trained; seeds are put in.
    make_batches: the server's training speech of a seed, endless.
    probe: a model of the same shape, whose weights are replaced.
    recognizer: recognises the evaluation with `probe`.
    spoken: the same utterances as sound.
    folder: where files and finished rows are kept.
    workers: how many utterances are recognised at once.
  """

  model: tf.keras.Model
  config: ConformerConfig
  model_sha256: str
  training: DynamicTraining
  make_batches: Callable[[int], Iterable[dict[str, tf.Tensor]]]
  probe: tf.keras.Model
  recognizer: Recognizer
  spoken: Sequence[SpokenUtterance]
  folder: str
  workers: int

  def kept(
    self, name: str, levels: SparsityLevels, make: Callable[[], list[Row]]
  ) -> list[Row]:
    """Returns rows, made now unless the same were made before."""
    key = {
      "sparsities": list(levels.sparsities),
      "block": levels.block,
      "training": dataclasses.asdict(self.training),
      "model_sha256": self.model_sha256,
      "utterances": len(self.spoken),
    }
    path = os.path.join(self.folder, f"{name}.json")
    if os.path.exists(path):
      found = read_json(path, "finished rows of this benchmark")
      if found["key"] == key:
        return found["rows"]
    rows = make()
    write_json(path, {"schema_version": 1, "key": key, "rows": rows})
    return rows


def wer_rows(
  setting: Setting, levels: SparsityLevels, method: str, seed: int
) -> list[Row]:
  """Returns a row a level: error rates of the float model at that sparsity.

  Args:
    setting: what all rows share.
    levels: the ladder; one level for `SINGLE`.
    method: `DYNAMIC` and `SINGLE` train, `PRUNED` only zeroes.
    seed: of the order of the speech, its augmentation and the drawn levels.
  """
  first = level_name(levels.sparsities[0])
  name = f"{method}_{first}" if method == SINGLE else method
  name = f"{name}_seed{seed}"
  layers = find_block_layers(setting.model, levels.block).sparse
  sparsity = uniform_sparsity(layers, levels)

  def make() -> list[Row]:
    times: list[float] = []
    if method == PRUNED:
      dynamic = prune_dynamic(setting.model, levels, sparsity)
    else:
      # Its weights are kept for the export.
      tf.keras.utils.set_random_seed(seed)
      dynamic = train_dynamic(
        setting.model,
        levels,
        sparsity,
        dataclasses.replace(setting.training, seed=seed),
        _timed(setting.make_batches(seed), times),
      )
      if method == DYNAMIC:
        save_dynamic(dynamic, setting.config, _trained(setting, seed))
    # From one batch asked for to the next is a step; the first one traces.
    steps_s = [b - a for a, b in zip(times[1:-1], times[2:], strict=True)]
    return [
      {
        "kind": "wer",
        "method": method,
        "seed": seed,
        "level": level_name(level),
        "sparsity": level,
        "found_sparsity": round(dynamic.found_sparsity(level), 5),
        "passes": setting.training.passes(levels) if times else 0,
        "step_ms": round(1000 * statistics.median(steps_s), 1)
        if steps_s
        else None,
        "last_loss": round(statistics.mean(dynamic.losses[-10:]), 5)
        if dynamic.losses
        else None,
        **_error_rates(setting, dynamic, level),
      }
      for level in levels.sparsities
    ]

  return setting.kept(name, levels, make)


def file_rows(setting: Setting, levels: SparsityLevels, seed: int) -> list[Row]:
  """Returns what the exported files of a trained ladder cost.

  A row a level (`kind` `file`) and one of the file of all levels (`whole`).
  """

  def make() -> list[Row]:
    dynamic, config = load_dynamic(_trained(setting, seed))
    folder = os.path.join(setting.folder, "exported")
    figures = export_levels(
      dynamic,
      config,
      setting.spoken[:_PARITY_UTTERANCES],
      "synthetic speech",
      folder,
    )
    rows = []
    references = [one.utterance.transcript for one in setting.spoken]
    for figure in figures["levels"]:
      path = os.path.join(folder, figure["file"])
      texts = transcribe_all(
        path, setting.spoken, setting.workers, figure["level"]
      )
      found = accuracy(references, texts)
      rows.append(
        {
          "kind": "file",
          **figure,
          "wer_on_litert": round(found.wer, 5),
          "wer_on_litert_interval": [
            round(end, 5) for end in found.wer_interval
          ],
          "peak_rss_bytes": peak_rss_bytes(path),
        }
      )
    whole = os.path.join(folder, LEVELS_FILE)
    rows.append(
      {
        "kind": "whole",
        "bytes": figures["bytes"],
        "bytes_of_separate_files": figures["bytes_of_separate_files"],
        "shared_bytes": figures["shared_bytes"],
        "dense_layers": figures["dense_layers"],
        "peak_rss_bytes": {
          level_name(level): peak_rss_bytes(whole, (level,))
          for level in levels.sparsities
        },
        "peak_rss_bytes_all_levels": peak_rss_bytes(whole, levels.sparsities),
        **_switching(whole, setting.spoken[0]),
        **measure_whole_file(whole, levels.sparsities),
      }
    )
    return rows

  return setting.kept(f"level_files_seed{seed}", levels, make)


def matrix_rows(setting: Setting, levels: SparsityLevels) -> list[Row]:
  """Returns the block-sparse kernel's times, by width (`kind` `kernel`)."""
  return setting.kept("kernels", levels, kernel_rows)


def _switching(path: str, one: SpokenUtterance) -> Row:
  """Returns what it takes to change the level between utterances."""
  recognizer = DynamicRecognizer(path)
  first_use_ms = {}
  for sparsity in recognizer.sparsities:
    started = time.perf_counter()
    recognizer.use(sparsity)
    recognizer.recognize(one.pcm)
    first_use_ms[level_name(sparsity)] = 1000 * (time.perf_counter() - started)
  before = _rss_bytes()
  switches_ms = []
  for turn in range(_SWITCHES):
    sparsity = recognizer.sparsities[turn % len(recognizer.sparsities)]
    started = time.perf_counter()
    recognizer.use(sparsity)
    switches_ms.append(1000 * (time.perf_counter() - started))
    if turn % 10 < len(recognizer.sparsities):
      recognizer.recognize(one.pcm)
  return {
    "first_use_ms": {k: round(v, 2) for k, v in first_use_ms.items()},
    "switch_ms_median": round(statistics.median(switches_ms), 5),
    "switch_ms_largest": round(max(switches_ms), 5),
    "switching_grows_rss_bytes": _rss_bytes() - before,
  }


def _rss_bytes() -> int:
  """Returns the memory that this process has now."""
  with open("/proc/self/statm", encoding="ascii") as statm:
    return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _timed(
  batches: Iterable[dict[str, tf.Tensor]], times: list[float]
) -> Iterable[dict[str, tf.Tensor]]:
  """Passes batches on and writes down when each was asked for."""
  for batch in batches:
    times.append(time.perf_counter())
    yield batch


def _trained(setting: Setting, seed: int) -> str:
  return os.path.join(setting.folder, f"trained_seed{seed}")


def _error_rates(
  setting: Setting, dynamic: DynamicModel, sparsity: float
) -> Row:
  setting.probe.set_weights(dynamic.at(sparsity).get_weights())
  texts = setting.recognizer.hypotheses()
  references = setting.recognizer.references
  found = accuracy(references, texts)
  return {
    "wer": round(found.wer, 5),
    "wer_interval": [round(end, 5) for end in found.wer_interval],
    "edits": [_edits(*pair) for pair in zip(references, texts, strict=True)],
    "utterance_words": [len(text.split()) for text in references],
  }


def _edits(reference: str, text: str) -> int:
  counts = jiwer.process_words(reference, text)
  return counts.substitutions + counts.deletions + counts.insertions

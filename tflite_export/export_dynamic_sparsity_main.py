"""Exports a trained ladder of sparsities to .tflite files.

  ./bazelw run //tflite_export:export_dynamic_sparsity -- --model=DIR --out=DIR

writes `dynamic_sparsity.tflite` (all levels, a signature each, such as
`transcribe_s80`), a file a level (`dynamic_s80.tflite`), `export.json` (bytes,
nearness to Keras, kernels, times and verdicts) and `manifest.json`.
"""

from lingvo_lite.stage import entry_point

import os
import time
from collections.abc import Sequence

from absl import flags, logging

from lingvo_lite.data.default_corpus import corpus_description, find_corpus
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.data.splits import spread
from lingvo_lite.dynamic_sparsity.dynamic_model import (
  LEVELS,
  MODEL,
  load_dynamic,
)
from lingvo_lite.stage.files import write_json
from lingvo_lite.stage.manifest import write_manifest
from tflite_export.dynamic_sparsity.export import export_levels
from tflite_export.speech import load_speech

_MODEL = flags.DEFINE_string(
  "model", None, "Folder that train_dynamic_sparsity wrote.", required=True
)
_CORPUS = flags.DEFINE_string(
  "corpus",
  None,
  "Folder with speech below server/, in the LibriSpeech layout, on which files"
  " are compared with Keras and timed. Left out: the default corpus.",
)
_OUT = flags.DEFINE_string("out", None, "Folder to write into.", required=True)
_UTTERANCES = 8


def main(argv: Sequence[str]) -> None:
  """Exports and writes the artifacts."""
  del argv
  started = time.monotonic()
  folder = entry_point.user_path(_MODEL.value)
  dynamic, config = load_dynamic(folder)
  corpus = find_corpus(_CORPUS.value)
  training_data = corpus_description(_CORPUS.value)
  utterances = load_librispeech(os.path.join(corpus, "server"))
  chosen = spread(utterances, _UTTERANCES)
  spoken, skipped = load_speech(chosen, max_bad_fraction=0.5)
  out = entry_point.user_path(_OUT.value)
  figures = export_levels(dynamic, config, spoken, training_data, out)
  report = os.path.join(out, "export.json")
  write_json(report, {"schema_version": 1, **figures})
  files = [row["file"] for row in figures["levels"]]
  if "file" in figures:
    files.append(figures["file"])
  write_manifest(
    out,
    stage="export_dynamic_sparsity",
    config={
      "sparsities": list(dynamic.levels.sparsities),
      "block": dynamic.levels.block,
      "model": config.to_dict(),
      "utterances": [one.utterance.id for one in spoken],
    },
    seed=0,
    inputs=[os.path.join(folder, MODEL), os.path.join(folder, LEVELS)],
    outputs=[*(os.path.join(out, file) for file in files), report],
    seconds=time.monotonic() - started,
    metrics=figures,
    skipped_utterances=skipped,
  )
  for row in figures["levels"]:
    logging.info(
      "%s: %d bytes, %.2f ms, off Keras by %.2g of the logits' spread: %s",
      row["level"],
      row["bytes"],
      row["latency_ms"],
      row["parity"]["relative_error"],
      row["verdict"],
    )
  logging.info("written to %s", out)


if __name__ == "__main__":
  entry_point.run(main)

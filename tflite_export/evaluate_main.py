"""Measures .tflite files on speech of unseen speakers.

  ./bazelw run //tflite_export:evaluate -- --models=A.tflite,B.tflite --out=DIR

writes `evaluation.json` (a row a file: error rates, bytes, speed, memory) and
`manifest.json`, and prints a table.
"""

from lingvo_lite.stage import entry_point

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags, logging

from lingvo_lite.data.default_corpus import find_corpus
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.stage.files import write_json
from lingvo_lite.stage.manifest import write_manifest
from tflite_export.evaluation import evaluate
from tflite_export.speech import load_speech

_MODELS = flags.DEFINE_list(
  "models", None, ".tflite files of the exporter.", required=True
)
_CORPUS = flags.DEFINE_string(
  "corpus",
  None,
  "Folder with the speech of unseen speakers below eval/, in the LibriSpeech"
  " layout. Left out: the default corpus (synthetic speech).",
)
_OUT = flags.DEFINE_string("out", None, "Folder to write into.", required=True)
_SEED = flags.DEFINE_integer(
  "seed", 0, "Kept in the manifest; nothing here is random."
)
_MAX_BAD_FRACTION = flags.DEFINE_float(
  "max_bad_fraction",
  0.05,
  "More than this fraction of unusable utterances is an error.",
)


def main(argv: Sequence[str]) -> None:
  """Measures and writes the artifacts."""
  del argv
  started = time.monotonic()
  paths = [entry_point.user_path(path) for path in _MODELS.value]
  corpus = find_corpus(_CORPUS.value)
  spoken, skipped = load_speech(
    load_librispeech(os.path.join(corpus, "eval")), _MAX_BAD_FRACTION.value
  )
  rows = evaluate(paths, spoken)
  out = entry_point.user_path(_OUT.value)
  path = os.path.join(out, "evaluation.json")
  write_json(path, {"schema_version": 1, "models": rows})
  write_manifest(
    out,
    stage="evaluate",
    config={"max_bad_fraction": _MAX_BAD_FRACTION.value},
    seed=_SEED.value,
    inputs=paths + [one.utterance.audio_path for one in spoken],
    outputs=[path],
    seconds=time.monotonic() - started,
    metrics={f"wer_{row['recipe']}": row["wer"] for row in rows},
    skipped_utterances=skipped,
  )
  print(_table(rows))
  logging.info("written to %s", out)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
  """Returns the main figures as lines of text."""
  lines = [
    f"{'recipe':12}{'WER':>7}{'CER':>7}{'KB':>8}{'gzip KB':>9}{'ms':>8}"
    f"{'RTF':>8}{'MB peak':>9}"
  ]
  for row in rows:
    lines.append(
      f"{row['recipe']:12}{row['wer']:7.3f}{row['cer']:7.3f}"
      f"{row['bytes'] / 1e3:8.0f}{row['gzip_bytes'] / 1e3:9.0f}"
      f"{row['latency_ms']:8.1f}{row['rtf']:8.4f}"
      f"{row['peak_rss_bytes'] / 1e6:9.0f}"
    )
  return "\n".join(lines)


if __name__ == "__main__":
  entry_point.run(main)

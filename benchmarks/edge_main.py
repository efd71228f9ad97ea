"""Measures streaming recognition on the device.

  ./bazelw run //benchmarks:edge -- --models=A.tflite,B.tflite \\
    --full_context=C.tflite --pocketsphinx_python=VENV/bin/python

The models are a streaming ladder of the exporter; C is the float32 file of the
same weights for whole utterances (`//tflite_export:export --full_context`).
Writes `edge.json` into `--out`. A row that is there already is not measured
again: the same command goes on after a stop.
"""

from lingvo_lite.stage import entry_point

import functools
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import flags, logging

from benchmarks.edge_claims import edge_claims
from benchmarks.edge_timing import cold_start, time_stream
from benchmarks.pocketsphinx_timing import time_pocketsphinx
from benchmarks.result_file import write_result
from lingvo_lite.data.default_corpus import extract_default_corpus
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.stage.files import read_json, write_json
from tflite_export.accuracy import accuracy, transcribe_all
from tflite_export.interpreter import Recognizer
from tflite_export.speech import SpokenUtterance, load_speech

_MODELS = flags.DEFINE_list(
  "models", None, "Streaming .tflite files of the exporter.", required=True
)
_FULL_CONTEXT = flags.DEFINE_string(
  "full_context", None, "The same weights for whole utterances, float32."
)
_POCKETSPHINX = flags.DEFINE_string(
  "pocketsphinx_python", None, "Python of an environment with pocketsphinx."
)
_CORPUS = flags.DEFINE_string(
  "corpus",
  None,
  "Folder with speech of unseen speakers below eval/, in the LibriSpeech"
  " layout. Left out: the default corpus (synthetic speech).",
)
_UTTERANCES = flags.DEFINE_integer(
  "utterances", 360, "How many, spread over the corpus."
)
_OUT = flags.DEFINE_string("out", None, "Folder. Left out: edge below runs.")
_COLD_STARTS = 7
_THREADS = (1, 2)


def main(argv: Sequence[str]) -> None:
  """Measures row after row and writes the claims."""
  del argv
  started = time.monotonic()
  out = (
    entry_point.user_path(_OUT.value)
    if _OUT.value
    else entry_point.default_folder("edge")
  )
  corpus = (
    entry_point.user_path(_CORPUS.value)
    if _CORPUS.value
    else extract_default_corpus(entry_point.default_folder("corpus"))
  )
  utterances = load_librispeech(os.path.join(corpus, "eval"))
  step = max(1, len(utterances) // _UTTERANCES.value)
  spoken, _ = load_speech(
    utterances[::step][: _UTTERANCES.value], max_bad_fraction=0.05
  )
  paths = [entry_point.user_path(path) for path in _MODELS.value]
  rows = []
  for path in paths:
    recipe = Recognizer(path).description["recipe"]["name"]
    for threads in _THREADS:
      rows.append(
        _kept(
          out,
          f"{recipe}_{threads}",
          functools.partial(_streaming_row, path, recipe, threads, spoken),
        )
      )
  if _FULL_CONTEXT.value:
    path = entry_point.user_path(_FULL_CONTEXT.value)
    rows.append(
      _kept(out, "full_context", lambda: _full_context_row(path, spoken))
    )
  if _POCKETSPHINX.value:
    python = entry_point.user_path(_POCKETSPHINX.value)
    rows.append(
      _kept(out, "pocketsphinx", lambda: _pocketsphinx_row(python, spoken))
    )
  path = os.path.join(out, "edge.json")
  claims = edge_claims(rows)
  write_result(
    path,
    config={
      "corpus": os.path.basename(corpus),
      "utterances": len(spoken),
      "speech_s": round(sum(one.seconds for one in spoken), 1),
      "cold_starts": _COLD_STARTS,
    },
    seconds=time.monotonic() - started,
    rows=rows,
    claims=claims,
  )
  for claim in claims:
    met = "met" if claim.met else "not met"
    print(f"{met:8} {claim.value!s:>10} {claim.target:>8}  {claim.claim}")
  logging.info("written to %s", path)


def _kept(
  out: str, name: str, measure: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
  """Returns a row, measured now or in an earlier run."""
  path = os.path.join(out, "rows", f"{name}.json")
  if os.path.exists(path):
    return read_json(path, "a row of this benchmark")["row"]
  logging.info("measuring %s", name)
  row = measure()
  write_json(path, {"schema_version": 1, "row": row})
  return row


def _streaming_row(
  path: str, recipe: str, threads: int, spoken: Sequence[SpokenUtterance]
) -> dict[str, Any]:
  timing = time_stream(path, threads, spoken)
  starts = [cold_start(path, threads) for _ in range(_COLD_STARTS)]
  return {
    "kind": "streaming",
    "recipe": recipe,
    "threads": threads,
    "bytes": os.path.getsize(path),
    **_accuracy(spoken, timing.texts),
    "rtf": round(timing.rtf, 5),
    "chunk_ms": _median(timing.chunk_ms),
    "chunk_ms_p95": round(float(np.quantile(timing.chunk_ms, 0.95)), 3),
    "first_word_ms": _median(timing.first_word_ms),
    "final_ms": _median(timing.final_ms),
    **{
      name: _median([start[name] for start in starts]) for name in starts[0]
    },
  }


def _full_context_row(
  path: str, spoken: Sequence[SpokenUtterance]
) -> dict[str, Any]:
  workers = len(os.sched_getaffinity(0))
  texts = transcribe_all(path, spoken, workers, "full context")
  return {
    "kind": "full_context",
    "recipe": "float32",
    "bytes": os.path.getsize(path),
    **_accuracy(spoken, texts),
  }


def _pocketsphinx_row(
  python: str, spoken: Sequence[SpokenUtterance]
) -> dict[str, Any]:
  timing = time_pocketsphinx(python, spoken)
  return {
    "kind": "pocketsphinx",
    "version": timing.version,
    "threads": 1,
    **_accuracy(spoken, timing.texts),
    "rtf": round(timing.rtf, 5),
  }


def _accuracy(
  spoken: Sequence[SpokenUtterance], texts: Sequence[str]
) -> dict[str, Any]:
  found = accuracy([one.utterance.transcript for one in spoken], list(texts))
  return {
    "wer": round(found.wer, 5),
    "wer_interval": [round(x, 5) for x in found.wer_interval],
    "words": found.words,
  }


def _median(values: Sequence[float] | np.ndarray) -> float:
  return round(float(np.median(values)), 3)


if __name__ == "__main__":
  entry_point.run(main)

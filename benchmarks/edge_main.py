"""Measures streaming recognition on the device.

  ./bazelw run //benchmarks:edge -- --models=A.tflite,B.tflite \\
    --full_context=C.tflite,D.tflite --pocketsphinx_python=VENV/bin/python \\
    --tensorflowasr_python=VENV/bin/python

The models are a streaming ladder of the exporter; C and D are files of the same
weights for whole utterances (`//tflite_export:export --full_context`).
Writes `edge.json` and `edge.png` into `--out`. What is there already is not
measured again: the same command goes on after a stop. Everything that is
compared takes turns, utterance by utterance or start by start.
"""

from lingvo_lite.stage import entry_point

import itertools
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tqdm
from absl import flags, logging

from benchmarks.edge_claims import edge_claims
from benchmarks.edge_figure import draw_figure
from benchmarks.edge_table import edge_tables
from benchmarks.edge_timing import cold_start, time_streams
from benchmarks.pocketsphinx_timing import pocketsphinx_row
from benchmarks.result_file import write_result
from benchmarks.tensorflowasr_timing import tensorflowasr_row
from lingvo_lite.data.default_corpus import find_corpus
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.stage.files import read_json, write_json
from tflite_export.accuracy import accuracy, transcribe_all
from tflite_export.interpreter import Recognizer
from tflite_export.speech import SpokenUtterance, load_speech

_MODELS = flags.DEFINE_list(
  "models", None, "Streaming .tflite files of the exporter.", required=True
)
_FULL_CONTEXT = flags.DEFINE_list(
  "full_context", [], "The same weights for whole utterances."
)
_POCKETSPHINX = flags.DEFINE_string(
  "pocketsphinx_python", None, "Python of an environment with pocketsphinx."
)
_TENSORFLOWASR = flags.DEFINE_string(
  "tensorflowasr_python",
  None,
  "Python of an environment with TensorFlowASR; compared with --full_context.",
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
_RIVAL_UTTERANCES = flags.DEFINE_integer(
  "rival_utterances", 60, "How many of them others recognise too."
)
_COLD_STARTS = 9
_THREADS = (1, 2)

Rows = list[dict[str, Any]]


def main(argv: Sequence[str]) -> None:
  """Measures row after row and writes the claims."""
  del argv
  started = time.monotonic()
  out = (
    entry_point.user_path(_OUT.value)
    if _OUT.value
    else entry_point.default_folder("edge")
  )
  corpus = find_corpus(_CORPUS.value)
  utterances = load_librispeech(os.path.join(corpus, "eval"))
  spoken, _ = load_speech(
    _spread(utterances, _UTTERANCES.value), max_bad_fraction=0.05
  )
  for_rivals = _spread(spoken, _RIVAL_UTTERANCES.value)
  paths = [entry_point.user_path(path) for path in _MODELS.value]
  rows = _kept(out, "streaming", lambda: _streaming_rows(paths, spoken))
  whole = [entry_point.user_path(path) for path in _FULL_CONTEXT.value]
  if whole:
    rows += _kept(out, "full_context", lambda: _whole_rows(whole, spoken))
    if _TENSORFLOWASR.value:
      python = entry_point.user_path(_TENSORFLOWASR.value)
      rows += _kept(
        out,
        "tensorflowasr",
        lambda: [tensorflowasr_row(python, whole, for_rivals)],
      )
  if _POCKETSPHINX.value:
    python = entry_point.user_path(_POCKETSPHINX.value)
    rows += _kept(
      out,
      "pocketsphinx",
      lambda: [pocketsphinx_row(python, _float32(paths), for_rivals)],
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
  draw_figure(os.path.join(out, "edge.png"), rows)
  print(edge_tables(rows))
  for claim in claims:
    met = "met" if claim.met else "not met"
    print(f"{met:8} {claim.value!s:>10} {claim.target:>8}  {claim.claim}")
  logging.info("written to %s", path)


def _spread(items: Sequence[Any], count: int) -> list[Any]:
  """Returns `count` of the items, from all over."""
  return list(items[:: max(1, len(items) // count)][:count])


def _float32(paths: Sequence[str]) -> str:
  """Returns the float32 file of the ladder, or its first."""
  for path in paths:
    if Recognizer(path).description["recipe"]["name"] == "float32":
      return path
  return paths[0]


def _kept(out: str, name: str, measure: Callable[[], Rows]) -> Rows:
  """Returns rows, measured now or in an earlier run."""
  path = os.path.join(out, "rows", f"{name}.json")
  if os.path.exists(path):
    return list(read_json(path, "rows of this benchmark")["rows"])
  logging.info("measuring %s", name)
  rows = measure()
  write_json(path, {"schema_version": 1, "rows": rows})
  return rows


def _streaming_rows(
  paths: Sequence[str], spoken: Sequence[SpokenUtterance]
) -> Rows:
  cases = list(itertools.product(paths, _THREADS))
  recognizers = [Recognizer(path, threads) for path, threads in cases]
  timings = time_streams(recognizers, spoken)
  turns = tqdm.tqdm(range(_COLD_STARTS), desc="cold starts", unit="turn")
  starts = [[cold_start(*case) for case in cases] for _ in turns]
  rows = []
  for index, ((path, threads), timing) in enumerate(
    zip(cases, timings, strict=True)
  ):
    rows.append(
      {
        "kind": "streaming",
        "recipe": recognizers[index].description["recipe"]["name"],
        "threads": threads,
        "bytes": os.path.getsize(path),
        **_accuracy(spoken, timing.texts),
        "rtf": round(timing.rtf, 5),
        "cpu_rtf": round(timing.cpu_rtf, 5),
        "chunk_ms": _median(timing.chunk_ms),
        "chunk_ms_p95": round(float(np.quantile(timing.chunk_ms, 0.95)), 3),
        "first_word_ms": _median(timing.first_word_ms),
        "final_ms": _median(timing.final_ms),
        **{
          name: _median([turn[index][name] for turn in starts])
          for name in starts[0][index]
        },
      }
    )
  return rows


def _whole_rows(
  paths: Sequence[str], spoken: Sequence[SpokenUtterance]
) -> Rows:
  workers = len(os.sched_getaffinity(0))
  return [
    {
      "kind": "full_context",
      "recipe": Recognizer(path).description["recipe"]["name"],
      "bytes": os.path.getsize(path),
      **_accuracy(spoken, transcribe_all(path, spoken, workers, path)),
    }
    for path in paths
  ]


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

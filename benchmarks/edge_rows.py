"""The rows of streaming on the device, of our own files."""

import itertools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.edge_cold_start import cold_starts
from benchmarks.edge_timing import time_streams
from tflite_export.accuracy import (
  Accuracy,
  accuracy,
  accuracy_by_domain,
  transcribe_all,
)
from tflite_export.interpreter import Recognizer
from tflite_export.speech import SpokenUtterance

Rows = list[dict[str, Any]]
THREADS = (1, 2)
HELD_OUT = "held_out"
"""Sentences that training left out, by speakers that it heard."""


def streaming_rows(
  paths: Sequence[str],
  spoken: Sequence[SpokenUtterance],
  held_out: Sequence[SpokenUtterance],
  turns: int,
) -> Rows:
  """Returns a row a file and number of threads.

  Args:
    paths: .tflite files that stream.
    spoken: of unseen speakers; what times are of. The longest of them is what
      memory is of.
    held_out: sentences that were held out of training.
    turns: cold starts of each.
  """
  cases = list(itertools.product(paths, THREADS))
  recognizers = [Recognizer(path, threads) for path, threads in cases]
  timings = time_streams(recognizers, spoken)
  longest = max(spoken, key=lambda one: one.pcm.size)
  starts = cold_starts(cases, longest.pcm, turns)
  rows = []
  for recognizer, (path, threads), timing, start in zip(
    recognizers, cases, timings, starts, strict=True
  ):
    texts = [_streamed(recognizer, one) for one in held_out]
    rows.append(
      {
        "kind": "streaming",
        "recipe": recognizer.description["recipe"]["name"],
        "threads": threads,
        "bytes": os.path.getsize(path),
        **_accuracies(spoken, timing.texts, held_out, texts),
        "rtf": round(timing.rtf, 5),
        "cpu_rtf": round(timing.cpu_rtf, 5),
        "chunk_ms": _median(timing.chunk_ms),
        "chunk_ms_p95": round(float(np.quantile(timing.chunk_ms, 0.95)), 3),
        "first_word_ms": _median(timing.first_word_ms),
        "final_ms": _median(timing.final_ms),
        **{name: _median(values) for name, values in start.items()},
        "memory_speech_s": round(longest.seconds, 2),
      }
    )
  return rows


def whole_rows(
  paths: Sequence[str],
  spoken: Sequence[SpokenUtterance],
  held_out: Sequence[SpokenUtterance],
) -> Rows:
  """Returns a row a file for whole utterances; arguments as above."""
  workers = len(os.sched_getaffinity(0))

  def texts(path: str, speech: Sequence[SpokenUtterance]) -> list[str]:
    return transcribe_all(path, speech, workers, os.path.basename(path))

  return [
    {
      "kind": "full_context",
      "recipe": Recognizer(path).description["recipe"]["name"],
      "bytes": os.path.getsize(path),
      **_accuracies(
        spoken, texts(path, spoken), held_out, texts(path, held_out)
      ),
    }
    for path in paths
  ]


def _streamed(recognizer: Recognizer, one: SpokenUtterance) -> str:
  stream = recognizer.stream()
  stream.accept(one.pcm)
  return stream.finish().text


def _accuracies(
  spoken: Sequence[SpokenUtterance],
  texts: Sequence[str],
  held_out: Sequence[SpokenUtterance],
  held_out_texts: Sequence[str],
) -> dict[str, Any]:
  """Returns errors on all unseen speakers, and apart by kind of sentence."""
  by_kind = accuracy_by_domain(spoken, texts)
  whole = by_kind.pop("all")
  references = [one.utterance.transcript for one in held_out]
  by_kind[HELD_OUT] = accuracy(references, held_out_texts)
  return {
    **_errors(whole),
    "by_speech": {kind: _errors(found) for kind, found in by_kind.items()},
  }


def _errors(found: Accuracy) -> dict[str, Any]:
  return {
    "wer": round(found.wer, 5),
    "wer_interval": [round(end, 5) for end in found.wer_interval],
    "words": found.words,
  }


def _median(values: Sequence[float] | np.ndarray) -> float:
  return round(float(np.median(values)), 3)

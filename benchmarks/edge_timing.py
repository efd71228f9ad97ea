"""Times a streaming model as someone who speaks to it would."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np

from lingvo_lite.audio.sound_file import SAMPLE_RATE_HZ
from lingvo_lite.stage.errors import InputError
from tflite_export.interpreter import Recognizer
from tflite_export.speech import SpokenUtterance

_LOUD = 0.05
_COLD = """
import json, sys, time
import numpy as np
from tflite_export.interpreter import Recognizer
started = time.perf_counter()
recognizer = Recognizer(sys.argv[1], num_threads=int(sys.argv[2]))
stream = recognizer.stream()
stream.accept(np.zeros(recognizer.chunk_samples, np.float32))
seconds = time.perf_counter() - started
print(json.dumps(seconds), flush=True)
peak = [line for line in open("/proc/self/status") if "VmHWM" in line]
print(int(peak[0].split()[1]) * 1024)
"""


@dataclasses.dataclass(frozen=True)
class StreamTiming:
  """What streaming some speech took.

  Attributes:
    texts: of each utterance.
    chunk_ms: of all chunks, in order.
    rtf: time to compute a second of speech.
    first_word_ms: of each utterance, from the first loud sample to the first
      text on the screen, had it been spoken at that moment.
    final_ms: of each utterance, from the last sample to the whole text.
  """

  texts: tuple[str, ...]
  chunk_ms: np.ndarray
  rtf: float
  first_word_ms: np.ndarray
  final_ms: np.ndarray


def time_stream(
  path: str, threads: int, spoken: Sequence[SpokenUtterance]
) -> StreamTiming:
  """Streams utterances, each chunk as soon as it would have been spoken.

  Nothing waits: the clock of the sound is reckoned, that of the computing
  measured.

  Args:
    path: a .tflite file that streams.
    threads: that it computes with.
    spoken: what to recognise.
  """
  recognizer = Recognizer(path, num_threads=threads)
  size = recognizer.chunk_samples
  if size is None:
    raise InputError(f"found {path}, which does not stream, expected one that")
  warm = recognizer.stream()
  warm.accept(np.zeros(4 * size, np.float32))
  texts, chunks, first_words, finals, speech_s = [], [], [], [], 0.0
  for one in spoken:
    stream = recognizer.stream()
    done_s, first_s = 0.0, None
    for start in range(0, one.pcm.size, size):
      piece = one.pcm[start : start + size]
      last = start + size >= one.pcm.size
      began = time.perf_counter()
      text = stream.accept(piece)
      if last:
        recognition = stream.finish()
        text = recognition.text
      taken = time.perf_counter() - began
      chunks.append(1000 * taken)
      spoken_s = (start + piece.size) / SAMPLE_RATE_HZ
      done_s = max(spoken_s, done_s) + taken
      if text and first_s is None:
        first_s = done_s
    loud = np.abs(one.pcm) > _LOUD * np.abs(one.pcm).max()
    onset_s = float(loud.argmax()) / SAMPLE_RATE_HZ
    if first_s is not None:
      first_words.append(1000 * (first_s - onset_s))
    finals.append(1000 * (done_s - one.seconds))
    speech_s += one.seconds
    texts.append(recognition.text)
  return StreamTiming(
    tuple(texts),
    np.array(chunks),
    float(np.sum(chunks)) / 1000 / speech_s,
    np.array(first_words),
    np.array(finals),
  )


def cold_start(path: str, threads: int) -> dict[str, float]:
  """Starts a fresh process that recognises one chunk.

  Returns:
    `cold_start_ms` from opening the file, all checks included, to the first
    result; `process_ms` from starting Python to it; `peak_rss_bytes`.
  """
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
  began = time.perf_counter()
  with subprocess.Popen(
    [sys.executable, "-c", _COLD, path, str(threads)],
    stdout=subprocess.PIPE,
    text=True,
    env=environment,
  ) as process:
    if process.stdout is None:
      raise ValueError("found no pipe to the process")
    first = process.stdout.readline()
    process_s = time.perf_counter() - began
    peak = process.stdout.read()
  return {
    "cold_start_ms": 1000 * json.loads(first),
    "process_ms": 1000 * process_s,
    "peak_rss_bytes": int(peak),
  }

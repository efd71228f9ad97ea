"""PocketSphinx on the same utterances, in an environment of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.rival_process import compare, rival_process
from tflite_export.accuracy import accuracy
from tflite_export.interpreter import Recognizer
from tflite_export.speech import SpokenUtterance

# Its model and its language model are those of its wheel.
_PROGRAM = """
import importlib.metadata, json, sys, time, wave
from pocketsphinx import Decoder
sys.stdin.readline()
decoder = Decoder(samprate=16000, loglevel="FATAL")
print(json.dumps({"version": importlib.metadata.version("pocketsphinx")}),
      flush=True)
for line in sys.stdin:
    with wave.open(line.rstrip("\\n")) as file:
        pcm = file.readframes(file.getnframes())
    began = time.process_time()
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
    seconds = time.process_time() - began
    found = decoder.hyp()
    print(json.dumps({"text": found.hypstr.upper() if found else "",
                      "seconds": seconds}), flush=True)
"""


def pocketsphinx_row(
  python: str, path: str, spoken: Sequence[SpokenUtterance]
) -> dict[str, Any]:
  """Compares a model that streams with PocketSphinx, one thread each.

  Args:
    python: of an environment where pocketsphinx is installed.
    path: our .tflite file.
    spoken: what both recognise.

  Returns:
    A row of the benchmark: PocketSphinx's errors and real-time factor, and ours
    of the same turns, in processor time.

  Raises:
    InputError: its program failed.
  """
  recognizer = Recognizer(path)

  def recognize(pcm: np.ndarray) -> object:
    stream = recognizer.stream()
    stream.accept(pcm)
    return stream.finish()

  with rival_process(python, _PROGRAM, {}) as rival:
    found = compare(rival, [recognize], spoken, "PocketSphinx")
  speech_s = sum(one.seconds for one in spoken)
  errors = accuracy(
    [one.utterance.transcript for one in spoken], list(found.texts)
  )
  return {
    "kind": "pocketsphinx",
    "version": rival.about["version"],
    "threads": 1,
    "utterances": len(spoken),
    "wer": round(errors.wer, 5),
    "wer_interval": [round(x, 5) for x in errors.wer_interval],
    "cpu_rtf": round(float(found.seconds.sum()) / speech_s, 5),
    "our_cpu_rtf": round(float(found.our_seconds.sum()) / speech_s, 5),
  }

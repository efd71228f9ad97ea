"""Prints the peak memory, in bytes, of running a .tflite file on 3 s of sound.

  ... FILE [LEVEL ...]

A process of its own, since only a fresh one tells the peak of one file.
"""

from lingvo_lite.stage import entry_point

import re
from collections.abc import Sequence

import numpy as np

from lingvo_lite.stage.errors import InputError
from tflite_export.dynamic_sparsity.dynamic_recognizer import (
  DynamicRecognizer,
)
from tflite_export.interpreter import Recognizer

_SAMPLES = 48_000


def main(argv: Sequence[str]) -> None:
  """Runs the file named on the command line, at the levels named after it."""
  if len(argv) < 2:
    raise InputError("found no file, expected one .tflite file")
  path, *levels = argv[1:]
  noise = np.random.default_rng(0).normal(0, 0.05, _SAMPLES)
  pcm = noise.astype(np.float32)
  if levels:
    dynamic = DynamicRecognizer(path)
    for level in levels:
      dynamic.use(float(level))
      dynamic.recognize(pcm)
  else:
    Recognizer(path).recognize(pcm)
  # Not `ru_maxrss`: a child begins with its parent's.
  with open("/proc/self/status", encoding="ascii") as status:
    peak = re.search(r"^VmHWM:\s+(\d+) kB", status.read(), re.MULTILINE)
  if peak is None:
    raise InputError(
      "found no VmHWM in /proc/self/status, expected it: run this on Linux"
    )
  print(int(peak[1]) * 1024)


if __name__ == "__main__":
  entry_point.run(main, positional=True)

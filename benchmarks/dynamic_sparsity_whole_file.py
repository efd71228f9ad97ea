"""What the file of all levels costs an app that loads it whole.

`DynamicRecognizer` takes one level out of the file; the Kotlin of
docs/dynamic_sparsity.md cannot. Fresh processes without TensorFlow, since only
those tell the peak memory.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from lingvo_lite.dynamic_sparsity.levels import level_name
from lingvo_lite.stage.errors import InputError

_PROGRAM = """
import json, statistics, sys, time
import numpy as np
from tflite_export.dynamic_sparsity.all_levels import AllLevels
path, turns, *levels = sys.argv[1:]
levels = [float(level) for level in levels]
noise = np.random.default_rng(0).normal(0, 0.05, 48_000)
pcm = noise.astype(np.float32)
with open(path, "rb") as file:
  loaded = AllLevels(file.read(), levels)
def seconds(level):
  started = time.perf_counter()
  loaded.run(level, pcm)
  return time.perf_counter() - started
for level in levels:
  seconds(level)
peak = [line for line in open("/proc/self/status") if "VmHWM" in line]
extra = []
for _ in range(int(turns)):
  for level in levels:
    after_switch = seconds(level)
    extra.append(1000 * (after_switch - seconds(level)))
print(json.dumps({
  "rss_bytes": 1024 * int(peak[0].split()[1]),
  "switch_ms": statistics.median(extra) if extra else None,
}))
"""
_TURNS = 20


def measure_whole_file(
  path: str, sparsities: Sequence[float]
) -> dict[str, Any]:
  """Measures the file of all levels in fresh processes, one thread.

  Args:
    path: the file.
    sparsities: its levels.

  Returns:
    `whole_file_rss_bytes`, the peak memory with one level run, by its name;
    `whole_file_rss_bytes_all_levels`, with all; `whole_file_switch_ms`, how
    much longer 3 s of sound take just after a switch than without one, the
    median.

  Raises:
    InputError: a process failed.
  """
  together = _run(path, _TURNS, sparsities)
  return {
    "whole_file_rss_bytes": {
      level_name(sparsity): _run(path, 0, (sparsity,))["rss_bytes"]
      for sparsity in sparsities
    },
    "whole_file_rss_bytes_all_levels": together["rss_bytes"],
    "whole_file_switch_ms": round(together["switch_ms"], 4),
  }


def _run(path: str, turns: int, sparsities: Sequence[float]) -> dict[str, Any]:
  levels = [str(sparsity) for sparsity in sparsities]
  done = subprocess.run(
    [sys.executable, "-c", _PROGRAM, path, str(turns), *levels],
    capture_output=True,
    text=True,
    # Bazel's launcher puts the sources on this process's path alone.
    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    check=False,
  )
  if done.returncode:
    raise InputError(
      f"found that a process to measure {path} failed:"
      f" {done.stderr.strip()[-300:]}; expected it to run: is memory short?"
    )
  return json.loads(done.stdout)

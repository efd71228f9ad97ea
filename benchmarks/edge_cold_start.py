"""Times how an app begins: a fresh process up to its first result."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np
import tqdm

_PROGRAM = """
import time
started, cpu_started = time.perf_counter(), time.process_time()
from tflite_export.interpreter import Recognizer
imported, cpu_imported = time.perf_counter(), time.process_time()
import json, sys
import numpy as np
recognizer = Recognizer(sys.argv[1], num_threads=int(sys.argv[2]))
stream = recognizer.stream()
stream.accept(np.zeros(recognizer.chunk_samples, np.float32))
ended, cpu_ended = time.perf_counter(), time.process_time()
print(json.dumps({
    "import_ms": 1000 * (imported - started),
    "import_cpu_ms": 1000 * (cpu_imported - cpu_started),
    "cold_start_ms": 1000 * (ended - imported),
    "cold_start_cpu_ms": 1000 * (cpu_ended - cpu_imported),
    "process_cpu_ms": 1000 * cpu_ended,
}), flush=True)
pcm = np.load(sys.argv[3])
stream = recognizer.stream()
for start in range(0, pcm.size, recognizer.chunk_samples):
    stream.accept(pcm[start:start + recognizer.chunk_samples])
stream.finish()
# Not `ru_maxrss`: a child begins with its parent's.
peak = [line for line in open("/proc/self/status") if "VmHWM" in line]
print(int(peak[0].split()[1]) * 1024)
"""


def cold_starts(
  cases: Sequence[tuple[str, int]], pcm: np.ndarray, turns: int
) -> list[dict[str, list[float]]]:
  """Starts fresh processes that recognise a chunk, and then an utterance.

  The cases take turns, so that a busy machine disturbs all alike.

  Args:
    cases: a .tflite file that streams, and threads.
    pcm: float32[S], the utterance.
    turns: how often each is started.

  Returns:
    Of each case, in the order of the turns: `import_ms` and `import_cpu_ms`,
    of the recogniser with NumPy and LiteRT; `cold_start_ms` and
    `cold_start_cpu_ms` from opening the file, all checks included, to the first
    result; `process_ms` and `process_cpu_ms` from starting Python to it;
    `peak_rss_bytes` at the end of the utterance.
  """
  with tempfile.TemporaryDirectory() as folder:
    sound = os.path.join(folder, "sound.npy")
    np.save(sound, pcm)
    environment = {
      **os.environ,
      "PYTHONPATH": os.pathsep.join(sys.path),
      # An app has its bytecode; who measures may have forbidden to write it.
      "PYTHONPYCACHEPREFIX": os.path.join(folder, "bytecode"),
      # From its import on NumPy's OpenBLAS has a thread that waits by spinning:
      # on an idle core it doubles the processor time, and computes nothing.
      "OPENBLAS_NUM_THREADS": "1",
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    for path, threads in cases:
      _start(path, threads, sound, environment)
    found = [
      [_start(path, threads, sound, environment) for path, threads in cases]
      for _ in tqdm.tqdm(range(turns), desc="cold starts", unit="turn")
    ]
  return [
    {name: [turn[case][name] for turn in found] for name in found[0][case]}
    for case in range(len(cases))
  ]


def _start(
  path: str, threads: int, sound: str, environment: dict[str, str]
) -> dict[str, float]:
  began = time.perf_counter()
  with subprocess.Popen(
    [sys.executable, "-c", _PROGRAM, path, str(threads), sound],
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
    **json.loads(first),
    "process_ms": 1000 * process_s,
    "peak_rss_bytes": int(peak),
  }

"""How much memory running a .tflite file takes. Needs no TensorFlow."""

import os
import subprocess
import sys

from lingvo_lite.stage.errors import InputError


def peak_rss_bytes(path: str, sparsities: tuple[float, ...] = ()) -> int:
  """Returns the peak memory of a fresh process that runs a file on 3 s.

  Python and NumPy, some 40 MB, are counted too.

  Args:
    path: the .tflite file.
    sparsities: levels that are run, one after the other, of a file that has
      levels; none: a file without.

  Raises:
    InputError: the process failed.
  """
  # Bazel's launcher puts the sources on this process's path alone.
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
  levels = [str(sparsity) for sparsity in sparsities]
  done = subprocess.run(
    [sys.executable, "-m", "tflite_export.peak_memory_main", path, *levels],
    capture_output=True,
    text=True,
    env=environment,
    check=False,
  )
  if done.returncode:
    raise InputError(
      f"found that a process to measure the memory of {path} failed:"
      f" {done.stderr.strip()[-300:]}; expected it to run: is memory short?"
    )
  return int(done.stdout)

"""Runs hostile .tflite files that passed every check, in a process apart.

What passes must not crash LiteRT, which trusts files more than we do.
"""

import os
import resource
import select
import struct
import subprocess
import sys
import tempfile

import numpy as np

from lingvo_lite.stage.errors import InputError
from tflite_export.interpreter import load_interpreter

_MAX_MEMORY_BYTES = 8 << 30
_TIMEOUT_S = 60
_SIZE = struct.Struct("<I")
_RAN, _REFUSED = b".", b"x"
_PROGRAM = "from tflite_export.fuzz_runtime import serve; serve()"


class RuntimeProcess:
  """A process that loads and runs files; a context manager.

  Raises:
    RuntimeError: it crashed or took long. The file that did it is kept, and
      named.
  """

  def __enter__(self) -> "RuntimeProcess":
    self._process = subprocess.Popen(
      [sys.executable, "-c", _PROGRAM],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return self

  def __exit__(self, *error: object) -> None:
    self._process.kill()
    self._process.communicate()

  def runs(self, contents: bytes) -> bool:
    """Returns whether LiteRT ran a file; False: it refused with an error."""
    source, answers = self._process.stdin, self._process.stdout
    if source is None or answers is None:
      raise ValueError("found no pipes to the process")
    answer = b""
    try:
      source.write(_SIZE.pack(len(contents)) + contents)
      source.flush()
      if not select.select([answers], [], [], _TIMEOUT_S)[0]:
        raise RuntimeError(
          f"found LiteRT busy for {_TIMEOUT_S} s with {_kept(contents)}"
        )
      answer = answers.read(1)
    except BrokenPipeError:
      pass
    if not answer:
      status = self._process.wait()
      raise RuntimeError(
        f"found LiteRT ended with status {status} by {_kept(contents)}"
      )
    return answer == _RAN


def serve() -> None:
  """Runs what comes on standard input, each file after its size."""
  limit = (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES)
  resource.setrlimit(resource.RLIMIT_AS, limit)
  while size := sys.stdin.buffer.read(_SIZE.size):
    contents = sys.stdin.buffer.read(*_SIZE.unpack(size))
    answer = _RAN
    try:
      _run(contents)
    # Memory that is short is told; it is no crash.
    except (InputError, ValueError, RuntimeError, MemoryError):
      answer = _REFUSED
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()


def _run(contents: bytes) -> None:
  loaded = load_interpreter(contents, num_threads=1)
  for name in loaded.get_signature_list():
    runner = loaded.get_signature_runner(name)
    details = runner.get_input_details()
    runner(
      **{
        key: np.zeros(one["shape"], one["dtype"])
        for key, one in details.items()
      }
    )


def _kept(contents: bytes) -> str:
  with tempfile.NamedTemporaryFile(
    prefix="hostile-", suffix=".tflite", delete=False
  ) as file:
    file.write(contents)
  return file.name

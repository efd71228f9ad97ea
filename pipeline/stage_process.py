"""Runs one stage as a process of its own, shown live and cleaned up after."""

import contextlib
import ctypes
import dataclasses
import fcntl
import os
import pathlib
import pty
import selectors
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from typing import BinaryIO

from pipeline.process_tree import ProcessTree

_SAMPLE_EVERY_S = 0.5
_INTERRUPT_GRACE_S = 10.0
_PR_SET_PDEATHSIG = 1
_SOURCES = str(pathlib.Path(__file__).absolute().parents[1])


@dataclasses.dataclass(frozen=True)
class StageResult:
  """How a stage's process ended.

  Attributes:
    exit_status: 0 when it went well; minus the signal that ended it.
    seconds: wall-clock time.
    peak_rss_bytes: most resident memory of the process and all its children
      together, sampled twice a second; pages that they share count more than
      once.
  """

  exit_status: int
  seconds: float
  peak_rss_bytes: int


def run_stage(command: Sequence[str], log_path: str) -> StageResult:
  """Runs a command to its end and leaves none of its processes behind.

  What it prints goes to this program's stderr as it comes and to a log. It is
  read until the process ends, not until its output closes: a child that
  outlives it may hold that open for ever.

  Args:
    command: the program and its arguments.
    log_path: file that is made anew; progress bars leave their last state.

  Returns:
    How it ended. An interrupt is passed on to the process, and raised again
    when it has ended.
  """
  started = time.monotonic()
  ours, theirs = _channel()
  os.makedirs(os.path.dirname(log_path), exist_ok=True)
  with open(log_path, "wb") as log, os.fdopen(ours, "rb", 0) as output:
    try:
      process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        # A group of its own, so that an interrupt reaches it once, from here.
        start_new_session=True,
        # Bazel's launcher puts the sources on this process's path alone. The
        # first entry is the folder of the program itself.
        env={
          **os.environ,
          "PYTHONPATH": os.pathsep.join([_SOURCES, *sys.path[1:]]),
        },
        preexec_fn=_end_with_parent,
      )
    finally:
      os.close(theirs)
    tree = ProcessTree(process.pid)
    try:
      _follow(process, tree, output, _Log(log))
    except KeyboardInterrupt:
      _interrupt(process)
      raise
    finally:
      tree.end()
      process.wait()
  return StageResult(
    process.returncode, time.monotonic() - started, tree.peak_rss_bytes
  )


class _Log:
  """Writes whole lines, of an overwritten line only what it ended as."""

  def __init__(self, file: BinaryIO):
    self._file = file
    self._rest = b""

  def write(self, data: bytes) -> None:
    *lines, self._rest = (self._rest + data).split(b"\n")
    for line in lines:
      self._file.write(line.rstrip(b"\r").rpartition(b"\r")[2] + b"\n")
    self._file.flush()
    self._rest = self._rest[-4096:]

  def close(self) -> None:
    if self._rest:
      self.write(b"\n")


def _channel() -> tuple[int, int]:
  """Returns two ends; a terminal where we have one, so that bars stay bars."""
  if not sys.stderr.isatty():
    return os.pipe()
  ours, theirs = pty.openpty()
  # Our own terminal turns line feeds into line ends; once is enough.
  modes = termios.tcgetattr(theirs)
  modes[1] &= ~termios.OPOST
  termios.tcsetattr(theirs, termios.TCSANOW, modes)
  with contextlib.suppress(OSError):
    size = fcntl.ioctl(sys.stderr, termios.TIOCGWINSZ, b"\0" * 8)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
  return ours, theirs


def _follow(
  process: subprocess.Popen[bytes],
  tree: ProcessTree,
  output: BinaryIO,
  log: _Log,
) -> None:
  """Shows what the process prints until it ends."""
  os.set_blocking(output.fileno(), False)
  next_sample = 0.0
  with selectors.DefaultSelector() as selector:
    selector.register(output, selectors.EVENT_READ)
    while process.poll() is None:
      if selector.get_map():
        if selector.select(_SAMPLE_EVERY_S) and not _show(output, log):
          selector.unregister(output)
      else:
        time.sleep(_SAMPLE_EVERY_S)
      if time.monotonic() >= next_sample:
        tree.sample()
        next_sample = time.monotonic() + _SAMPLE_EVERY_S
  while _show(output, log):
    pass
  log.close()


def _show(output: BinaryIO, log: _Log) -> bool:
  """Passes on what is there; False when there is nothing, or no more."""
  try:
    data = output.read(1 << 16)
  except OSError:  # A terminal without its other end.
    return False
  if not data:
    return False
  sys.stderr.buffer.write(data)
  sys.stderr.flush()
  log.write(data)
  return True


def _interrupt(process: subprocess.Popen[bytes]) -> None:
  with contextlib.suppress(ProcessLookupError):
    os.killpg(process.pid, signal.SIGINT)
  with contextlib.suppress(subprocess.TimeoutExpired):
    process.wait(_INTERRUPT_GRACE_S)


def _end_with_parent() -> None:
  """Has the kernel end this process when the quickstart is killed."""
  ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

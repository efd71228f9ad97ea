"""The measuring side of a measurement: a system in a process of its own."""

import json
import os
import select
import subprocess
import time
from collections.abc import Sequence

from benchmarks.systems.workload import Workload
from pipeline.process_tree import ProcessTree

_SAMPLE_EVERY_S = 0.1
_MORE_THAN_ANY_ROUND_S = 1800.0


class SystemFailedError(RuntimeError):
  """A system ended, or took far too long, instead of running a round."""


class RoundProcess:
  """A system that runs rounds on request; see `Turns` for the other side.

  Args:
    command: the interpreter and the module, `[python, "-m", module]`, and what
      the module wants after the workload.
    workload: what a round is.
    root: the folder to import from.
    log: where the system's own output goes.
  """

  def __init__(
    self, command: Sequence[str], workload: Workload, root: str, log: str
  ) -> None:
    python, dash_m, module, *arguments = command
    self._log = log
    self._began = time.monotonic()
    with open(log, "w") as log_file:
      self._process = subprocess.Popen(
        [python, dash_m, module, workload.to_argument(), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log_file,
        env={**os.environ, "PYTHONPATH": root},
        start_new_session=True,
      )
    self._tree = ProcessTree(self._process.pid)

  @property
  def seconds_since_start(self) -> float:
    """How long ago the process was started."""
    return time.monotonic() - self._began

  def run_round(self, watch_memory: bool = False) -> float:
    """Has a round run.

    Args:
      watch_memory: whether to look at its memory all the while, which takes
        time off the machine: not for rounds whose time counts.

    Returns:
      How many seconds the round took.

    Raises:
      SystemFailedError: there was no round.
    """
    try:
      self._write(b"round\n")
      line = self._report(watch_memory)
    except BrokenPipeError:
      line = b""
    if not line:
      self.close()
      raise SystemFailedError(f"it ended; its last words: {self._tail()}")
    return json.loads(line)["seconds"]

  def resident_bytes(self) -> int:
    """What all its processes hold, each page as often as it is held."""
    return sum(process.memory_info().rss for process in self._tree.sample())

  @property
  def peak_resident_bytes(self) -> int:
    """The most that `resident_bytes` was whenever it was looked at."""
    return self._tree.peak_rss_bytes

  def close(self) -> None:
    """Ends all its processes."""
    self._tree.end()
    self._process.wait()
    for pipe in (self._process.stdin, self._process.stdout):
      if pipe is not None:
        pipe.close()

  def _write(self, request: bytes) -> None:
    if self._process.stdin is None:
      raise ValueError("it has no standard input")
    self._process.stdin.write(request)
    self._process.stdin.flush()

  def _report(self, watch_memory: bool) -> bytes:
    """Waits for a line; empty: there will be none."""
    if self._process.stdout is None:
      raise ValueError("it has no standard output")
    deadline = time.monotonic() + _MORE_THAN_ANY_ROUND_S
    while time.monotonic() < deadline:
      readable, _, _ = select.select(
        [self._process.stdout],
        [],
        [],
        _SAMPLE_EVERY_S if watch_memory else _MORE_THAN_ANY_ROUND_S,
      )
      if readable:
        return self._process.stdout.readline()
      self._tree.sample()
    return b""

  def _tail(self) -> str:
    with open(self._log, errors="replace") as log:
      lines = [line for line in log.read().splitlines() if line.strip()]
    return " / ".join(lines[-3:]) or "nothing"

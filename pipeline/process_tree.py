"""A process and all that it started: how much memory, and how to end it."""

import contextlib
import os
import time

import psutil

_GRACE_S = 2.0


class ProcessTree:
  """Watches the processes that descend from one.

  A process belongs to it that is in the session of the first one or was seen to
  have a parent that belongs, even when that parent has ended since.

  Args:
    pid: of the first process, which leads a session of its own.
  """

  def __init__(self, pid: int) -> None:
    self._session = pid
    self._members: set[psutil.Process] = set()
    self.peak_rss_bytes = 0

  def sample(self) -> list[psutil.Process]:
    """Looks at the processes now and returns the living ones that belong."""
    found = set(self._members)
    for process in psutil.process_iter():
      with contextlib.suppress(ProcessLookupError):
        if os.getsid(process.pid) == self._session:
          found.add(process)
    for process in list(found):
      with contextlib.suppress(psutil.NoSuchProcess):
        found.update(process.children(recursive=True))
    sizes = {}
    for process in found:
      with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        if process.status() != psutil.STATUS_ZOMBIE:
          sizes[process] = process.memory_info().rss
    self._members = set(sizes)
    self.peak_rss_bytes = max(self.peak_rss_bytes, sum(sizes.values()))
    return list(sizes)

  def end(self) -> None:
    """Ends every process that belongs: first asked, then made to."""
    for stop in (psutil.Process.terminate, psutil.Process.kill):
      members = self.sample()
      for process in members:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
          stop(process)
      deadline = time.monotonic() + _GRACE_S
      while members and time.monotonic() < deadline:
        time.sleep(0.05)
        members = self.sample()
      if not members:
        return

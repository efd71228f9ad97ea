"""Keeps native libraries' chatter from the user."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_standard_error() -> Iterator[None]:
  """Sends what is written to file descriptor 2 nowhere.

  C++ code writes there past Python's `sys.stderr`. Errors still come as
  exceptions. Not for use from several threads at once.
  """
  sys.stderr.flush()
  kept = os.dup(2)
  nowhere = os.open(os.devnull, os.O_WRONLY)
  try:
    os.dup2(nowhere, 2)
    yield
  finally:
    os.dup2(kept, 2)
    os.close(kept)
    os.close(nowhere)

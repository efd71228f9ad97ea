"""The measured side of a measurement: a round whenever one is asked for."""

import json
import os
import sys
import time
from collections.abc import Callable


class Turns:
  """Runs rounds on request, so that systems in other processes can take turns.

  A line on standard input asks for a round; a line of JSON on standard output,
  with its `seconds`, says that it is done. Whatever else the program prints
  goes to standard error from here on.
  """

  def __init__(self) -> None:
    self._reports = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # By lines: what is printed before an error stays before it.
    sys.stdout = open(sys.stdout.fileno(), "w", buffering=1, closefd=False)
    self._began = 0.0

  def wait(self) -> None:
    """Returns when a round is asked for; ends the program if none will be."""
    if not sys.stdin.readline():
      # Not by an exception: some systems call this in a thread of theirs.
      os._exit(0)
    self._began = time.monotonic()

  def done(self) -> None:
    """Reports the round since `wait`."""
    seconds = time.monotonic() - self._began
    print(json.dumps({"seconds": seconds}), file=self._reports, flush=True)

  def serve(self, run_round: Callable[[], object]) -> None:
    """Runs rounds for as long as they are asked for."""
    while True:
      self.wait()
      run_round()
      self.done()

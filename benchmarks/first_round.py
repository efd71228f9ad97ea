"""How long a user waits for the first round of `//fl:train`."""

import os
import subprocess
import sys
import tempfile
import time

from benchmarks.round_process import SystemFailedError

_LOOKS_EVERY_S = 0.1
_MORE_THAN_ANY_START_S = 900.0


def first_round_s(model: str, corpus: str, root: str, log: str) -> float:
  """Starts the training program, and ends it after its first round.

  Args:
    model: folder of the model to start from.
    corpus: root of the speech.
    root: of the project's sources.
    log: file for what it says.

  Returns:
    Seconds from its start to the row of its first round, in `rounds.csv`.

  Raises:
    SystemFailedError: it ended before that, or took more than a quarter of an
      hour.
  """
  with tempfile.TemporaryDirectory() as folder, open(log, "wb") as log_file:
    row = os.path.join(folder, "workdir", "rounds.csv")
    began = time.monotonic()
    with subprocess.Popen(
      [sys.executable, "-m", "fl.train_main"]
      + [f"--model={model}", f"--corpus={corpus}", f"--out={folder}"],
      stdin=subprocess.DEVNULL,
      stdout=log_file,
      stderr=log_file,
      env={**os.environ, "PYTHONPATH": root},
    ) as process:
      try:
        while not _has_a_row(row):
          waited_s = time.monotonic() - began
          if process.poll() is not None or waited_s > _MORE_THAN_ANY_START_S:
            raise SystemFailedError(
              f"found no first round after {waited_s:.0f} s, expected one: see"
              f" {log}"
            )
          time.sleep(_LOOKS_EVERY_S)
        return time.monotonic() - began
      finally:
        # Its worker ends with it.
        process.kill()


def _has_a_row(path: str) -> bool:
  """Returns whether a table has a line after its names."""
  if not os.path.exists(path):
    return False
  with open(path, encoding="utf-8") as file:
    return len(file.readlines()) > 1

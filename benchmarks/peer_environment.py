"""Environments of programs that cannot live in this project's own."""

import os
import subprocess
import sys

from absl import logging

_BUILD_ENVIRONMENT = "tools.python.build_environment"


class NoEnvironmentError(RuntimeError):
  """An environment could not be made, in one line."""


def peer_python(root: str, lock: str, folder: str) -> str:
  """Makes a venv with exactly the packages of a lock file, once.

  Args:
    root: the folder to import this project from.
    lock: path of the lock file, with hashes.
    folder: where the venv goes; kept for the next time.

  Returns:
    The path of its interpreter.

  Raises:
    NoEnvironmentError: it could not be made, for want of the network, say.
  """
  os.makedirs(folder, exist_ok=True)
  answer = os.path.join(folder, "interpreter.txt")
  if not _is_newer(answer, lock):
    logging.info("making the environment of %s", os.path.basename(lock))
    made = subprocess.run(
      [sys.executable, "-m", _BUILD_ENVIRONMENT,
       f"--requirements={lock}", f"--folder={folder}"],
      env={**os.environ, "PYTHONPATH": root},
      stdin=subprocess.DEVNULL,
      capture_output=True,
      text=True,
    )  # fmt: skip
    if made.returncode != 0:
      lines = (made.stdout + made.stderr).strip().splitlines()
      raise NoEnvironmentError(
        (lines[-1] if lines else "it said nothing").removeprefix("error: ")
      )
  with open(answer) as file:
    return file.read()


def _is_newer(path: str, other: str) -> bool:
  return os.path.exists(path) and os.path.getmtime(path) > os.path.getmtime(
    other
  )

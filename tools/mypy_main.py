"""Runs the pinned mypy on the workspace: ./bazelw run //tools:mypy"""

import os
import sys

from tools.import_graph import STAGES


def main() -> None:
  """Becomes mypy, at the root of the workspace."""
  os.chdir(os.environ.get("BUILD_WORKSPACE_DIRECTORY", os.getcwd()))
  stages = [s for s in STAGES if s != "tests" and os.path.isdir(s)]
  command = [sys.executable, "-m", "mypy", f"--cache-dir={os.devnull}"]
  # The runfiles on PYTHONPATH would be taken for a second copy of the sources.
  environment = dict(os.environ)
  environment.pop("PYTHONPATH", None)
  os.execve(command[0], command + (sys.argv[1:] or stages), environment)


if __name__ == "__main__":
  main()

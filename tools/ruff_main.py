"""Runs the pinned ruff on the workspace: ./bazelw run //tools:ruff -- check

With no arguments it checks everything; `-- check --fix` mends what it can.
"""

import os
import sys
import sysconfig


def main() -> None:
  """Becomes ruff, at the root of the workspace."""
  os.chdir(os.environ.get("BUILD_WORKSPACE_DIRECTORY", os.getcwd()))
  ruff = os.path.join(sysconfig.get_path("scripts"), "ruff")
  os.execv(ruff, [ruff, *(sys.argv[1:] or ["check"])])


if __name__ == "__main__":
  main()

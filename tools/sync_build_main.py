"""Brings the BUILD files up to date with the imports of the sources.

    ./bazelw run //tools:sync_build

Writes only files that change and prints their names. Fails, naming each, on
imports that lead nowhere or that go against the direction of the design.
"""

import os
import pathlib
import sys

from absl import app

from tools.build_files import expected_build_files
from tools.import_graph import read_graph


def main(argv: list[str]) -> None:
  """Writes the BUILD files of the workspace that the command was given in."""
  if len(argv) > 1:
    sys.exit(f"error: found the argument {argv[1]!r}, expected none")
  root = pathlib.Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY", os.getcwd()))
  graph = read_graph(root)
  for path, text in expected_build_files(root, graph).items():
    file = root / path
    if not file.exists() or file.read_text(encoding="utf-8") != text:
      file.write_text(text, encoding="utf-8")
      print(f"wrote {path}")
  if graph.problems:
    sys.exit("\n".join(f"error: {problem}" for problem in graph.problems))


if __name__ == "__main__":
  app.run(main)

"""Checks a package before it is used; runs nothing of it.

./bazelw run //tflite_export:check_package -- a_package.zip
"""

from lingvo_lite.stage import entry_point

from collections.abc import Sequence

from lingvo_lite.stage.errors import InputError
from tflite_export.package_check import check_package


def main(argv: Sequence[str]) -> None:
  """Prints a line a model, or what is wrong."""
  if len(argv) != 2:
    raise InputError(
      f"found {len(argv) - 1} arguments, expected one: a folder or a .zip"
    )
  for model in check_package(entry_point.user_path(argv[1])):
    chunk = model.chunk_samples
    streams = "whole utterances only"
    if chunk is not None:
      streams = f"streams in chunks of {chunk // 16} ms"
    print(f"{model.file}: sound, {model.size} bytes, {streams}")


if __name__ == "__main__":
  entry_point.run(main, positional=True)

"""Files that appear whole or not at all."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from typing import Any

from lingvo_lite.stage.errors import InputError

# What a file begins with that is being written; a kill leaves it.
PARTIAL = ".partial-"


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[str]:
  """Yields a temporary path beside `path`, renamed to it on success.

  Args:
    path: where the file is to appear; its folder is made.

  Yields:
    The path to write to, with the same extension.
  """
  folder = os.path.dirname(os.path.abspath(path))
  os.makedirs(folder, exist_ok=True)
  extension = os.path.splitext(path)[1]
  handle, temporary = tempfile.mkstemp(extension, PARTIAL, folder)
  os.close(handle)
  try:
    yield temporary
    with open(temporary, "rb") as written:
      os.fsync(written.fileno())
    # mkstemp makes private files; artifacts are read by others.
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
  except BaseException as error:
    with contextlib.suppress(FileNotFoundError):
      os.unlink(temporary)
    if isinstance(error, OSError) and error.filename is None:
      # A full disk shows in a write, which knows no name.
      error.filename = path
    raise


def write_json(path: str, value: Any) -> None:
  """Writes `value` as JSON with a stable layout."""
  with whole_file(path) as temporary:
    with open(temporary, "w", encoding="utf-8") as file:
      json.dump(value, file, indent=1, allow_nan=False)
      file.write("\n")


def read_json(path: str, what: str, schema_version: int = 1) -> dict[str, Any]:
  """Reads a JSON artifact of a known schema.

  Args:
    path: the file.
    what: what the user would call it, for the error.
    schema_version: the version that this code reads.

  Raises:
    InputError: the file is missing, is not JSON or has another schema.
  """
  require_file(path, what)
  try:
    with open(path, encoding="utf-8") as file:
      value = json.load(file)
  except (UnicodeDecodeError, json.JSONDecodeError) as error:
    raise InputError(
      f"found {path} to be no valid JSON ({error}), expected {what}: make it"
      " again with the stage that writes it"
    ) from error
  found = value.get("schema_version") if isinstance(value, dict) else None
  if found != schema_version:
    raise InputError(
      f"found schema_version {found} in {path}, expected {what} with"
      f" schema_version {schema_version}: make it again with this release"
    )
  return value


def require_file(path: str, what: str) -> None:
  """Raises InputError unless `path` is a file with something in it."""
  if not os.path.isfile(path):
    raise InputError(
      f"found no file {path}, expected {what}: check the path or run the stage"
      " that writes it"
    )
  if os.path.getsize(path) == 0:
    raise InputError(
      f"found {path} empty, expected {what}: run the stage that writes it"
    )

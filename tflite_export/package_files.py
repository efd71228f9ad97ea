"""The files of a package, in a folder or a zip archive, bounded in size."""

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from typing import Protocol

from lingvo_lite.stage.errors import InputError
from tflite_export.bounded_zip import BoundedZip, bounded_blocks

MAX_FILES = 256
MAX_TOTAL_BYTES = 1 << 30
"""Of all files of a package together, unfolded."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*")


class PackageFiles(Protocol):
  """What a package holds, wherever it lies."""

  def names(self) -> list[str]:
    """Returns the names of all files, as `models/int8.tflite`, sorted.

    Raises:
      InputError: a name, or how many there are, is not a package's.
    """

  def blocks(self, name: str, max_bytes: int) -> Iterator[bytes]:
    """Yields a file in pieces of bounded size.

    Raises:
      InputError: it is missing, damaged or larger than `max_bytes`.
    """


class FolderFiles:
  """A package that lies in a folder."""

  def __init__(self, path: str):
    self._path = path

  def names(self) -> list[str]:
    found = []
    for folder, folders, files in os.walk(self._path):
      for name in [*folders, *files]:
        whole = os.path.join(folder, name)
        if os.path.islink(whole):
          raise InputError(f"found the link {name!r}, expected plain files")
      for name in files:
        whole = os.path.join(folder, name)
        if not stat.S_ISREG(os.stat(whole).st_mode):
          raise InputError(f"found {name!r}, expected plain files")
        found.append(os.path.relpath(whole, self._path).replace(os.sep, "/"))
      _check_count(len(found))
    return _checked_names(found)

  def blocks(self, name: str, max_bytes: int) -> Iterator[bytes]:
    try:
      with open(os.path.join(self._path, *name.split("/")), "rb") as file:
        yield from bounded_blocks(file, name, max_bytes)
    except OSError as error:
      raise InputError(
        f"found no readable {name!r} ({error.strerror}), expected it: get the"
        " package again"
      ) from None


class ZipFiles:
  """A package that is a zip archive."""

  def __init__(self, path: str):
    self._archive = BoundedZip(path, MAX_FILES, MAX_TOTAL_BYTES)

  def close(self) -> None:
    """Closes the archive."""
    self._archive.close()

  def names(self) -> list[str]:
    return _checked_names(self._archive.names)

  def blocks(self, name: str, max_bytes: int) -> Iterator[bytes]:
    return self._archive.blocks(name, max_bytes)


@contextlib.contextmanager
def open_package(path: str) -> Iterator[PackageFiles]:
  """Opens a folder or an archive, reading nothing of its contents yet.

  Raises:
    InputError: there is none.
  """
  if os.path.isdir(path):
    yield FolderFiles(path)
  elif os.path.isfile(path):
    with contextlib.closing(ZipFiles(path)) as files:
      yield files
  else:
    raise InputError(
      f"found nothing at {path}, expected a package (a folder or a .zip): check"
      " the path"
    )


def _checked_names(names: list[str]) -> list[str]:
  for name in names:
    if len(name) > 200 or not _NAME.fullmatch(name):
      raise InputError(
        f"found a file named {name[:200]!r}, expected letters, digits, and"
        " - _ . between them: this is no package of this project"
      )
  return sorted(names)


def _check_count(count: int) -> None:
  if count > MAX_FILES:
    raise InputError(
      f"found {count} files, expected at most {MAX_FILES}: this is no package"
      " of this project"
    )

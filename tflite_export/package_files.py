"""The files of a package, in a folder or a zip archive, bounded in size."""

import os
import re
import stat
import zipfile
from typing import Protocol

from lingvo_lite.stage.errors import InputError

MAX_FILES = 256
MAX_FILE_BYTES = 1 << 30
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*")


class PackageFiles(Protocol):
  """What a package holds, wherever it lies."""

  def names(self) -> list[str]:
    """Returns the names of all files, as `models/int8.tflite`, sorted.

    Raises:
      InputError: a name, or how many there are, is not a package's.
    """

  def read(self, name: str, max_bytes: int) -> bytes:
    """Returns a file.

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

  def read(self, name: str, max_bytes: int) -> bytes:
    try:
      with open(os.path.join(self._path, *name.split("/")), "rb") as file:
        contents = file.read(max_bytes + 1)
    except OSError as error:
      raise InputError(
        f"found no readable {name!r} ({error.strerror}), expected it: get the"
        " package again"
      ) from None
    return _bounded(name, contents, max_bytes)


class ZipFiles:
  """A package that is a zip archive."""

  def __init__(self, path: str):
    try:
      self._archive = zipfile.ZipFile(path)
      self._members = self._archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
      raise InputError(
        "found a damaged zip archive, expected a package: get it again"
      ) from None

  def names(self) -> list[str]:
    _check_count(len(self._members))
    names = [member.filename for member in self._members]
    if len(set(names)) != len(names):
      raise InputError("found a file twice in the archive, expected each once")
    return _checked_names(names)

  def read(self, name: str, max_bytes: int) -> bytes:
    try:
      with self._archive.open(name) as file:
        # Not by the size that the archive claims: it may unfold to more.
        contents = file.read(max_bytes + 1)
    except KeyError:
      raise InputError(
        f"found no {name!r}, expected it: get the package again"
      ) from None
    except Exception as error:  # zlib, lzma and bz2 each have their own.
      raise InputError(
        f"found {name!r} damaged ({type(error).__name__}), expected it whole:"
        " get the package again"
      ) from None
    return _bounded(name, contents, max_bytes)


def open_package(path: str) -> PackageFiles:
  """Opens a folder or an archive, reading nothing of its contents yet.

  Raises:
    InputError: there is none.
  """
  if os.path.isdir(path):
    return FolderFiles(path)
  if os.path.isfile(path):
    return ZipFiles(path)
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


def _bounded(name: str, contents: bytes, max_bytes: int) -> bytes:
  if len(contents) > max_bytes:
    raise InputError(
      f"found more than {max_bytes} bytes in {name!r}, expected no more: get"
      " the package again"
    )
  return contents

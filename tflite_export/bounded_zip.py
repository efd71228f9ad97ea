"""ZIP archives that others made: nothing in them unfolds without a bound."""

import io
import os
import zipfile
from collections.abc import Iterator
from typing import IO

from lingvo_lite.stage.errors import InputError

# DEFLATE can fold a thousandfold, but not what models are made of: weights fold
# to half, texts to a tenth.
_MAX_RATIO = 100
# The list of 256 names of up to 200 letters takes a third of it.
_MAX_DIRECTORY_BYTES = 1 << 18
_BLOCK_BYTES = 1 << 16


class _SmallReads(io.BufferedReader):
  """A file of which no more than an archive's bounded list is read at once.

  An archive says how long the list of its files is, which is read whole: one
  entry takes ten times as much memory as it takes in the file.
  """

  def read(self, size: int | None = -1) -> bytes:
    if size is None or size < 0:
      size = os.fstat(self.fileno()).st_size - self.tell()
    if size > _MAX_DIRECTORY_BYTES:
      raise zipfile.BadZipFile("a list of files that is too long")
    return super().read(size)


class BoundedZip:
  """An archive that is open for reading.

  Args:
    path: of the archive.
    max_files: that it may hold.
    max_bytes: that all of them may unfold to.

  Attributes:
    names: of the files, each once, in the archive's order.
    folded_bytes: of the archive.

  Raises:
    InputError: it is damaged, or holds or unfolds to more.
  """

  def __init__(self, path: str, max_files: int, max_bytes: int):
    try:
      self._file = _SmallReads(io.FileIO(path))
    except OSError as error:
      raise InputError(
        f"found no archive that can be read ({error.strerror}), expected one:"
        " check the path"
      ) from None
    self.folded_bytes = os.fstat(self._file.fileno()).st_size
    try:
      self._archive = zipfile.ZipFile(self._file)
      self.names = _checked(
        self._archive.infolist(), max_files, max_bytes, self.folded_bytes
      )
    except InputError:
      self.close()
      raise
    except Exception:  # Struct's, Unicode's, zip's own.
      self.close()
      raise InputError(
        "found a damaged zip archive, expected a whole one: get it again"
      ) from None

  def close(self) -> None:
    """Closes the archive."""
    self._file.close()

  def blocks(self, name: str, max_bytes: int) -> Iterator[bytes]:
    """Yields a file in pieces of bounded size.

    Raises:
      InputError: it is missing, damaged or larger than `max_bytes`.
    """
    try:
      # No more comes than the size that was added up to the whole.
      with self._archive.open(name) as file:
        yield from bounded_blocks(file, name, max_bytes)
    except InputError:
      raise
    except KeyError:
      raise InputError(
        f"found no {name!r} in the archive, expected it: get it again"
      ) from None
    except Exception as error:  # zlib and zipfile each have their own.
      raise InputError(
        f"found {name!r} damaged ({type(error).__name__}), expected it whole:"
        " get the archive again"
      ) from None


def bounded_blocks(
  file: IO[bytes], name: str, max_bytes: int
) -> Iterator[bytes]:
  """Yields a file in pieces; InputError: it is larger than `max_bytes`."""
  left = max_bytes
  while block := file.read(_BLOCK_BYTES):
    left -= len(block)
    if left < 0:
      raise InputError(
        f"found more than {max_bytes} bytes in {name!r}, expected no more: get"
        " it again"
      )
    yield block


def _checked(
  members: list[zipfile.ZipInfo],
  max_files: int,
  max_bytes: int,
  folded_bytes: int,
) -> list[str]:
  if len(members) > max_files:
    raise InputError(
      f"found {len(members)} files, expected at most {max_files}: this is no"
      " archive of this project"
    )
  names = [member.filename for member in members]
  if len(set(names)) != len(names):
    raise InputError("found a file twice in the archive, expected each once")
  for member in members:
    # What the other methods take for unfolding is not bounded.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
      raise InputError(
        f"found {member.filename[:80]!r} folded by method"
        f" {member.compress_type}, expected DEFLATE or none: this is no archive"
        " of this project"
      )
  unfolded = sum(member.file_size for member in members)
  if unfolded > min(max_bytes, _MAX_RATIO * folded_bytes):
    raise InputError(
      f"found an archive of {folded_bytes} bytes that unfolds to {unfolded},"
      f" expected at most {_MAX_RATIO} times as many and no more than"
      f" {max_bytes}: this is no archive of this project"
    )
  return names

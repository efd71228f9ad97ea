"""Is a .tflite file one of this exporter's, whole and unchanged?

Standard library only, without the schema's generated code: importing that takes
a good part of what an app's first result takes.
"""

import hashlib

from lingvo_lite.stage.errors import InputError
from tflite_export.flatbuffer_check import check_structure
from tflite_export.flatbuffer_tables import Reader, Table

FILE_IDENTIFIER = b"TFL3"
LABELS = "labels"
DESCRIPTION = "description"
DIGEST = "sha256"
NO_DIGEST = bytes(32)


def check_seal(contents: bytes) -> None:
  """Checks a file before any native code reads it.

  Native readers trust the offsets in a file: one wrong bit can crash them. The
  digest tells chance from intention no better than who wrote the file, so its
  structure is checked too.

  Args:
    contents: the file, perhaps damaged.

  Raises:
    InputError: the file is not whole, not unchanged, or not of this exporter.
  """
  if contents[4:8] != FILE_IDENTIFIER:
    raise InputError(
      f"found a file that begins with {contents[:8]!r}, expected a .tflite"
      " file: export the model again"
    )
  check_structure(contents)
  start = _digest_start(contents)
  if start is None:
    raise InputError(
      "found a .tflite file without the digest that this project's exporter"
      " puts in, expected one of its files: export the model with it"
    )
  if _digest(contents, start) != contents[start : start + len(NO_DIGEST)]:
    raise InputError(
      "found a .tflite file that differs from what was exported (its SHA-256"
      " does not match), expected it unchanged and whole: copy or export it"
      " again"
    )


def sealed(contents: bytes) -> bytes:
  """Returns a file with the digest that it has room for.

  Args:
    contents: a file whose structure is sound.

  Raises:
    InputError: it has no room for a digest.
  """
  start = _digest_start(contents)
  if start is None:
    raise InputError("found no room for a digest, expected a file with it")
  end = start + len(NO_DIGEST)
  return contents[:start] + _digest(contents, start) + contents[end:]


def read_metadata(contents: bytes, name: str) -> bytes | None:
  """Returns a named piece of metadata of a checked file, or None."""
  place = _metadata_place(contents, name)
  return None if place is None else bytes(contents[slice(*place)])


def _digest(contents: bytes, start: int) -> bytes:
  """Returns the digest of a file with zeros in its own place."""
  # In parts, for a copy of the file takes longer than its digest.
  digest = hashlib.sha256(memoryview(contents)[:start])
  digest.update(NO_DIGEST)
  digest.update(memoryview(contents)[start + len(NO_DIGEST) :])
  return digest.digest()


def _digest_start(contents: bytes) -> int | None:
  """Returns where in the file the digest's 32 bytes begin, None: nowhere."""
  place = _metadata_place(contents, DIGEST)
  if place is None or place[1] - place[0] != len(NO_DIGEST):
    return None
  return place[0]


def _metadata_place(contents: bytes, name: str) -> tuple[int, int] | None:
  """Returns where a piece begins and ends; None: it is not there, or empty."""
  reader = Reader(contents)
  model = Table(reader, reader.number("<I", 0), 8)
  for entry in model.tables(6, 2):
    if entry.text(0) == name.encode():
      buffer = model.table_of(4, entry.scalar(1, "<I", 0), 3)
      start, size = buffer.vector(0, 1)
      return (start, start + size) if size else None
  return None

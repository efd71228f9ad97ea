"""Opens the small files that models travel in: the reference reader.

A `.tflite.zip` is a ZIP archive that any unzipper opens. Its members are pieces
of one .tflite file, put so that DEFLATE can make them small; this module puts
them together again, byte for byte. docs/compression.md describes the format.
"""

import contextlib
import json
import math

import numpy as np

from lingvo_lite.stage.errors import InputError
from tflite_export.bounded_zip import BoundedZip

LAYOUT = "layout.json"
SKELETON = "skeleton"
FLOATS = "floats"
NONZERO = "nonzero"
FORMAT = "tflite-pieces-2"
FLOAT_BITS = 32
INTEGER_BITS = (2, 4, 8)
_MAX_BYTES = 1 << 30
# A line for each constant of the model.
_MAX_LAYOUT_BYTES = 1 << 22
# Weights fold to half, those of few bits and with zeros to a tenth.
_MAX_RATIO = 100


def values_member(bits: int) -> str:
  """Returns what holds the integers of `bits` bits that are not zero."""
  return f"values_{bits}"


_MEMBERS = (
  LAYOUT,
  SKELETON,
  FLOATS,
  NONZERO,
  *(values_member(bits) for bits in INTEGER_BITS),
)


def values_per_byte(bits: int) -> int:
  """Returns how many integers of `bits` bits, none of them zero, a byte holds.

  They are the byte's digits in base `2**bits - 1`: 5 of 2 bits, 2 of 4, 1 of 8.
  """
  return int(math.log(256, 2**bits - 1))


def unpack_fields(packed: np.ndarray, bits: int) -> np.ndarray:
  """Returns the fields of bytes uint8[...], lowest bits first."""
  places = np.arange(0, 8, bits, dtype=np.uint8)
  fields = packed[:, np.newaxis] >> places & (2**bits - 1)
  return fields.reshape(-1).astype(np.uint8)


def pack_fields(fields: np.ndarray, bits: int) -> np.ndarray:
  """Returns fields uint8[...] as bytes, the last one filled up with zeros."""
  in_byte = 8 // bits
  fields = np.pad(fields, (0, -len(fields) % in_byte)).reshape(-1, in_byte)
  places = np.arange(0, 8, bits, dtype=np.uint8)
  return np.bitwise_or.reduce(fields << places, axis=1).astype(np.uint8)


def to_digits(numbers: np.ndarray, bits: int) -> np.ndarray:
  """Returns numbers below `2**bits - 1`, uint8[...], as digits of bytes.

  The first digit is the least significant; zeros fill up the last byte.
  """
  in_byte = values_per_byte(bits)
  digits = np.pad(numbers, (0, -len(numbers) % in_byte)).reshape(-1, in_byte)
  return (digits @ (2**bits - 1) ** np.arange(in_byte)).astype(np.uint8)


def from_digits(data: np.ndarray, bits: int) -> np.ndarray:
  """Undoes `to_digits`, but for the zeros that filled up the last byte."""
  base = 2**bits - 1
  powers = base ** np.arange(values_per_byte(bits))
  return (data[:, np.newaxis] // powers % base).reshape(-1).astype(np.uint8)


def to_planes(data: np.ndarray) -> np.ndarray:
  """Sorts bytes by significance: all first bytes of four, all second, ..."""
  data = np.pad(data, (0, -len(data) % 4))
  return data.reshape(-1, 4).T.reshape(-1)


def from_planes(planes: np.ndarray) -> np.ndarray:
  """Undoes `to_planes`, but for the zeros that filled up the last word."""
  return planes.reshape(4, -1).T.reshape(-1)


def read_transport(path: str) -> bytes:
  """Returns the .tflite file that travels in a ZIP archive.

  Args:
    path: the archive.

  Raises:
    InputError: it is damaged, or not of this format.
  """
  try:
    with contextlib.closing(
      BoundedZip(path, len(_MEMBERS), _MAX_BYTES)
    ) as archive:
      if not set(archive.names) <= set(_MEMBERS):
        raise ValueError(f"{len(archive.names)} members, some unknown")
      members = {
        name: b"".join(
          archive.blocks(
            name, _MAX_LAYOUT_BYTES if name == LAYOUT else _MAX_BYTES
          )
        )
        for name in archive.names
      }
      layout = json.loads(members[LAYOUT])
      if layout["format"] != FORMAT:
        raise ValueError(f"the format {layout['format']!r}, not {FORMAT!r}")
      _check_layout(layout, _MAX_RATIO * archive.folded_bytes)
      return _assemble(layout, members)
  except (
    InputError,
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    RecursionError,
  ) as error:
    raise InputError(
      f"found {path} damaged or of another origin ({error}), expected a"
      " .tflite.zip of this project's exporter: copy or export it again"
    ) from error


def _check_layout(layout: dict, max_bytes: int) -> None:
  """Checks that a layout asks for nothing without a bound.

  Args:
    layout: whoever wrote it.
    max_bytes: of the file that it describes.

  Raises:
    ValueError: what it asks for no exporter does.
  """
  whole = _integer(layout["bytes"], 0, min(_MAX_BYTES, max_bytes))
  end = 0
  for bits, start, size in layout["pieces"]:
    # One after the other: together they are no more than the file.
    end = _integer(start, end, whole) + _integer(size, 0, whole - start)
    if bits not in (FLOAT_BITS, *INTEGER_BITS):
      raise ValueError(f"a piece of {bits!r} bits")


def _integer(value: object, least: int, most: int) -> int:
  if type(value) is not int or not least <= value <= most:
    raise ValueError(f"{str(value)[:20]} where {least} to {most} may stand")
  return value


def _assemble(layout: dict, members: dict[str, bytes]) -> bytes:
  """Puts the pieces into the places that the layout says."""
  left = {
    name: np.frombuffer(members.get(name, b""), np.uint8) for name in _MEMBERS
  }
  left[FLOATS] = from_planes(left[FLOATS])

  def take(name: str, count: int) -> np.ndarray:
    taken, left[name] = left[name][:count], left[name][count:]
    if len(taken) < count:
      raise ValueError(f"{len(taken)} of {count} bytes in {name}")
    return taken

  whole = np.zeros(layout["bytes"], np.uint8)
  from_skeleton = np.ones(len(whole), bool)
  for bits, start, size in layout["pieces"]:
    place = slice(start, start + size)
    from_skeleton[place] = False
    if bits == FLOAT_BITS:
      whole[place] = take(FLOATS, size)
      continue
    fields = np.zeros(size * 8 // bits, np.uint8)
    flags = take(NONZERO, -(-len(fields) // 8))
    nonzero = np.unpackbits(flags, bitorder="little", count=len(fields))
    count = int(nonzero.sum())
    values = take(values_member(bits), -(-count // values_per_byte(bits)))
    fields[nonzero == 1] = from_digits(values, bits)[:count] + 1
    whole[place] = pack_fields(fields, bits)
  # It was filled up to whole words.
  rest = int(from_skeleton.sum())
  left[SKELETON] = from_planes(left[SKELETON])
  whole[from_skeleton] = take(SKELETON, rest)
  return whole.tobytes()

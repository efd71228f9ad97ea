"""Opens the small files that models travel in: the reference reader.

A `.tflite.zip` is a ZIP archive that any unzipper opens. Its members are pieces
of one .tflite file, put so that DEFLATE can make them small; this module puts
them together again, byte for byte. docs/compression.md describes the format.
"""

import contextlib
import itertools
import json
import math

import numpy as np

from lingvo_lite.stage.errors import InputError
from tflite_export.bounded_zip import BoundedZip

LAYOUT = "layout.json"
SKELETON = "skeleton"
VALUES = "values"
POSITIONS = "positions"
FLOATS = "floats"
FORMAT = "tflite-pieces-1"
_MAX_BYTES = 1 << 30
# A line for each constant of the model.
_MAX_LAYOUT_BYTES = 1 << 22
# A byte numbers one pattern or more.
_MOST_PATTERNS = 256
_MEMBERS = (LAYOUT, SKELETON, VALUES, POSITIONS, FLOATS)
# Weights fold to half, those of few bits and with zeros to a tenth.
_MAX_RATIO = 100


def patterns(kept_of: tuple[int, int]) -> np.ndarray:
  """Returns which places may be kept, int64[patterns, n], in their order."""
  kept, group = kept_of
  return np.array(list(itertools.combinations(range(group), kept)))


def patterns_per_byte(count: int) -> int:
  """Returns how many numbers below `count` one byte holds, as its digits."""
  digits = 1
  while count ** (digits + 1) <= 256:
    digits += 1
  return digits


def bits_in_values(bits: int) -> int:
  """Returns how many bits a value of `bits` takes in `values`.

  Huffman codes need a byte a symbol, but 2 bits are too few for one.
  """
  return 8 if bits == 4 else bits


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
  if layout["kept_of"] is not None:
    kept, group = layout["kept_of"]
    _integer(group, 2, _MOST_PATTERNS)
    _integer(kept, 1, group - 1)
  end = 0
  for kind, bits, start, size in layout["pieces"]:
    # One after the other: together they are no more than the file.
    end = _integer(start, end, whole) + _integer(size, 0, whole - start)
    if kind != "floats" and bits not in (2, 4, 8):
      raise ValueError(f"a piece of {bits!r} bits")
    if kind == "kept":
      kept, group = layout["kept_of"]
      if math.comb(group, kept) > _MOST_PATTERNS:
        raise ValueError(f"{math.comb(group, kept)} patterns")
      # Whole runs.
      _integer(size * 8 // bits % group, 0, 0)


def _integer(value: object, least: int, most: int) -> int:
  if type(value) is not int or not least <= value <= most:
    raise ValueError(f"{str(value)[:20]} where {least} to {most} may stand")
  return value


def _assemble(layout: dict, members: dict[str, bytes]) -> bytes:
  """Puts the pieces into the places that the layout says."""
  skeleton, values, positions, floats = (
    np.frombuffer(members[name], np.uint8)
    for name in (SKELETON, VALUES, POSITIONS, FLOATS)
  )
  words = from_planes(floats).reshape(-1, 4)
  whole = np.zeros(layout["bytes"], np.uint8)
  from_skeleton = np.ones(len(whole), bool)
  value_at = position_at = float_at = 0
  for kind, bits, start, size in layout["pieces"]:
    place = slice(start, start + size)
    from_skeleton[place] = False
    if kind == "floats":
      whole[place] = words[float_at : float_at + size // 4].reshape(-1)
      float_at += size // 4
    elif kind == "values":
      stored = bits_in_values(bits)
      used = size * stored // bits
      fields = unpack_fields(values[value_at : value_at + used], stored)
      whole[place] = pack_fields(fields, bits)
      value_at += used
    elif kind == "kept":
      counts = _fill_kept(
        whole[place],
        bits,
        layout["kept_of"],
        values[value_at:],
        positions[position_at:],
      )
      value_at += counts[0]
      position_at += counts[1]
    else:
      raise ValueError(f"a piece of kind {kind!r}")
  # It was filled up to whole words.
  whole[from_skeleton] = from_planes(skeleton)[: from_skeleton.sum()]
  return whole.tobytes()


def _fill_kept(
  place: np.ndarray,
  bits: int,
  kept_of: tuple[int, int],
  values: np.ndarray,
  positions: np.ndarray,
) -> tuple[int, int]:
  """Fills one N:M kernel; returns how many bytes of both it used."""
  kept, group = kept_of
  choices = patterns(kept_of)
  digits = patterns_per_byte(len(choices))
  runs = len(place) * 8 // bits // group
  position_bytes = -(-runs // digits)
  numbers = positions[:position_bytes, np.newaxis].astype(np.int64)
  numbers = numbers // len(choices) ** np.arange(digits) % len(choices)
  places = choices[numbers.reshape(-1)[:runs]]
  stored = bits_in_values(bits)
  value_bytes = -(-runs * kept * stored // 8)
  fields = unpack_fields(values[:value_bytes], stored)[: runs * kept]
  kernel = np.zeros([runs, group], np.uint8)
  np.put_along_axis(kernel, places, fields.reshape(runs, kept), axis=1)
  place[:] = pack_fields(kernel.reshape(-1), bits)
  return value_bytes, position_bytes

"""Writes a .tflite file small, for the way to the phone.

What the interpreter loads stays the plain .tflite file. N:M sparsity at low
bits has 2.3 to 3 bits of information a weight, but the file stores 4: which
weights are zero and what the others are is taken apart here, and the bytes of
float numbers are sorted by significance. The coder is DEFLATE, which phones and
Python open; what is small is folded by Zopfli, which finds shorter DEFLATE than
zlib does. Nothing is lost: `transport_reader.py` gives the same bytes back, and
that is checked each time.
"""

import json
import os
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
import zopfli.zlib
from ai_edge_litert import schema_py_generated as schema

from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import whole_file
from tflite_export.flatbuffer import constants, integers_of, read_flatbuffer
from tflite_export.transport_reader import (
  FLOAT_BITS,
  FLOATS,
  FORMAT,
  INTEGER_BITS,
  LAYOUT,
  NONZERO,
  SKELETON,
  read_transport,
  to_digits,
  to_planes,
  unpack_fields,
  values_member,
)

_EPOCH = (1980, 1, 1, 0, 0, 0)
# Shorter runs are not worth a line of the layout.
_LEAST_BYTES = 64
# There is little to find in what is longer, which are weights, and Zopfli takes
# a second for every few 100 kB. More passes than these gain a hundred bytes.
_MOST_ZOPFLI_BYTES, _ZOPFLI_PASSES = 1 << 20, 5
# Of bits, the first byte and how many.
_Piece = tuple[int, int, int]


def transport_path(path: str) -> str:
  """Returns where the transport form of a .tflite file lies."""
  return path + ".zip"


def write_transport(contents: bytes, path: str) -> int:
  """Writes a .tflite file as a small ZIP archive.

  Args:
    contents: the .tflite file.
    path: of the archive.

  Returns:
    The size of the archive in bytes.

  Raises:
    InputError: the archive does not give the same bytes back.
  """
  members = _members(contents)
  with whole_file(path) as temporary:
    _write_zip(members, temporary)
    if read_transport(temporary) != contents:
      raise InputError(
        f"found that {path} does not give the .tflite file back, expected the"
        " same bytes: this is a fault of the exporter, please report it"
      )
    return os.path.getsize(temporary)


def _members(contents: bytes) -> dict[str, bytes]:
  """Takes a file apart; see `transport_reader.py`."""
  whole = np.frombuffer(contents, np.uint8)
  pieces: list[_Piece] = []
  parts: dict[str, list[np.ndarray]] = {
    FLOATS: [],
    NONZERO: [],
    **{values_member(bits): [] for bits in INTEGER_BITS},
  }
  in_skeleton = np.ones(len(whole), bool)
  for piece in sorted(set(_pieces(contents)), key=lambda piece: piece[1:]):
    bits, start, size = piece
    place = slice(start, start + size)
    if not in_skeleton[place].all():
      continue  # A constant that is found inside another one.
    in_skeleton[place] = False
    pieces.append(piece)
    if bits == FLOAT_BITS:
      parts[FLOATS].append(whole[place])
      continue
    fields = unpack_fields(whole[place], bits)
    nonzero = fields != 0
    parts[NONZERO].append(np.packbits(nonzero, bitorder="little"))
    parts[values_member(bits)].append(to_digits(fields[nonzero] - 1, bits))
  layout = {"format": FORMAT, "bytes": len(whole), "pieces": pieces}
  if parts[FLOATS]:
    parts[FLOATS] = [to_planes(np.concatenate(parts[FLOATS]))]
  members = {name: b"".join(map(bytes, each)) for name, each in parts.items()}
  return {
    LAYOUT: json.dumps(layout, separators=(",", ":")).encode(),
    SKELETON: to_planes(whole[in_skeleton]).tobytes(),
    **{name: data for name, data in members.items() if data},
  }


def _pieces(contents: bytes) -> Iterator[_Piece]:
  """Yields what is better kept apart; pieces may overlap."""
  model = read_flatbuffer(contents)
  for tensor, data in constants(model):
    if data.size < _LEAST_BYTES:
      continue
    start = contents.find(data.tobytes())
    found = integers_of(tensor, data)
    if found is not None:
      yield found[0], start, data.size
    elif tensor.type == schema.TensorType.FLOAT32:
      yield FLOAT_BITS, start, data.size
  for subgraph in model.subgraphs:
    for tensor in subgraph.tensors:
      if tensor.quantization is None or tensor.quantization.scale is None:
        continue
      scales = np.asarray(tensor.quantization.scale, np.float32)
      start = contents.find(scales.tobytes())
      if scales.nbytes >= _LEAST_BYTES and start >= 0:
        yield FLOAT_BITS, start, scales.nbytes


class _Folded:
  """Stands in for `zipfile`'s compressor, which knows zlib's levels only."""

  def __init__(self, data: bytes) -> None:
    self._folded = _deflate(data)

  def compress(self, data: bytes) -> bytes:
    """Returns nothing yet: `data` is known, and folded."""
    del data
    return b""

  def flush(self) -> bytes:
    """Returns all of it."""
    return self._folded


def _deflate(data: bytes) -> bytes:
  """Returns the shortest DEFLATE of data."""
  folded = []
  for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY):
    coder = zlib.compressobj(9, zlib.DEFLATED, -15, 9, strategy)
    folded.append(coder.compress(data) + coder.flush())
  if len(data) <= _MOST_ZOPFLI_BYTES:
    # Without zlib's header of 2 bytes and checksum of 4.
    folded.append(
      zopfli.zlib.compress(data, numiterations=_ZOPFLI_PASSES)[2:-4]
    )
  return min(folded, key=len)


def _write_zip(members: dict[str, bytes], path: str) -> None:
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, data in members.items():
      entry = zipfile.ZipInfo(name, _EPOCH)
      entry.compress_type = zipfile.ZIP_DEFLATED
      with archive.open(entry, "w") as member:
        member._compressor = _Folded(data)  # type: ignore[attr-defined]
        member.write(data)

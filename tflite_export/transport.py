"""Writes a .tflite file small, for the way to the phone.

What the interpreter loads stays the plain .tflite file. N:M sparsity at low
bits has 2.3 to 3 bits of information a weight, but the file stores 4: which
places are kept and what is kept are taken apart here, and the bytes of float
numbers are sorted by significance. The coder is DEFLATE, which phones and
Python have; without its search for repetitions (Huffman codes alone) where
there are none, which saves a tenth. Nothing is lost: `transport_reader.py`
gives the same bytes back, and that is checked each time.
"""

import json
import math
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import whole_file
from tflite_export.flatbuffer import constants, integers_of, read_flatbuffer
from tflite_export.transport_reader import (
  FLOATS,
  FORMAT,
  LAYOUT,
  POSITIONS,
  SKELETON,
  VALUES,
  bits_in_values,
  pack_fields,
  patterns_per_byte,
  read_transport,
  to_planes,
  unpack_fields,
)

_EPOCH = (1980, 1, 1, 0, 0, 0)
# Shorter runs of floats are not worth a line of the layout.
_LEAST_BYTES = 64
# A byte numbers one pattern or more.
_MOST_PATTERNS = 256
_Piece = tuple[str, int, int, int]


def transport_path(path: str) -> str:
  """Returns where the transport form of a .tflite file lies."""
  return path + ".zip"


def write_transport(
  contents: bytes, kept_of: tuple[int, int] | None, path: str
) -> int:
  """Writes a .tflite file as a small ZIP archive.

  Args:
    contents: the .tflite file.
    kept_of: `(n, m)` of its pruned kernels, or None.
    path: of the archive.

  Returns:
    The size of the archive in bytes.

  Raises:
    InputError: the archive does not give the same bytes back.
  """
  # Where many kept weights are zero, as with two bits, their places cost more
  # than they save.
  candidates = [_members(contents, None)]
  if kept_of is not None and math.comb(*reversed(kept_of)) <= _MOST_PATTERNS:
    candidates.append(_members(contents, kept_of))
  members = min(
    candidates,
    key=lambda each: sum(len(_deflate(data)[1]) for data in each.values()),
  )
  with whole_file(path) as temporary:
    _write_zip(members, temporary)
    if read_transport(temporary) != contents:
      raise InputError(
        f"found that {path} does not give the .tflite file back, expected the"
        " same bytes: this is a fault of the exporter, please report it"
      )
    with open(temporary, "rb") as file:
      return len(file.read())


def _members(
  contents: bytes, kept_of: tuple[int, int] | None
) -> dict[str, bytes]:
  """Takes a file apart; see `transport_reader.py`."""
  whole = np.frombuffer(contents, np.uint8)
  pieces: list[_Piece] = []
  values, positions, floats = [], [], [np.zeros(0, np.uint8)]
  in_skeleton = np.ones(len(whole), bool)
  for piece in sorted(set(_pieces(contents, kept_of)), key=lambda p: p[2]):
    kind, bits, start, size = piece
    place = slice(start, start + size)
    if not in_skeleton[place].all():
      continue  # A constant that is found inside another one.
    in_skeleton[place] = False
    pieces.append(piece)
    if kind == "floats":
      floats.append(whole[place])
    elif kind == "values":
      fields = unpack_fields(whole[place], bits)
      values.append(pack_fields(fields, bits_in_values(bits)))
    elif kept_of is not None:
      kept, places = _split_kept(whole[place], bits, kept_of)
      values.append(kept)
      positions.append(places)
  layout = {
    "format": FORMAT,
    "bytes": len(whole),
    "kept_of": kept_of,
    "pieces": pieces,
  }
  return {
    LAYOUT: json.dumps(layout, separators=(",", ":")).encode(),
    SKELETON: to_planes(whole[in_skeleton]).tobytes(),
    VALUES: b"".join(part.tobytes() for part in values),
    POSITIONS: b"".join(part.tobytes() for part in positions),
    FLOATS: to_planes(np.concatenate(floats)).tobytes(),
  }


def _pieces(
  contents: bytes, kept_of: tuple[int, int] | None
) -> Iterator[_Piece]:
  """Yields what is better kept apart; pieces may overlap."""
  model = read_flatbuffer(contents)
  for tensor, data in constants(model):
    if data.size < _LEAST_BYTES:
      continue
    start = contents.find(data.tobytes())
    found = integers_of(tensor, data)
    if found is None:
      if tensor.type == schema.TensorType.FLOAT32:
        yield "floats", 32, start, data.size
    elif kept_of is not None and _is_kept(found[1], kept_of):
      yield "kept", found[0], start, data.size
    else:
      yield "values", found[0], start, data.size
  for subgraph in model.subgraphs:
    for tensor in subgraph.tensors:
      if tensor.quantization is None or tensor.quantization.scale is None:
        continue
      scales = np.asarray(tensor.quantization.scale, np.float32)
      start = contents.find(scales.tobytes())
      if scales.nbytes >= _LEAST_BYTES and start >= 0:
        yield "floats", 32, start, scales.nbytes


def _is_kept(integers: np.ndarray, kept_of: tuple[int, int]) -> bool:
  """Returns whether every run of m inputs keeps at most n weights."""
  kept, group = kept_of
  if integers.ndim != 2 or integers.shape[1] % group:
    return False
  counts = (integers.reshape(-1, group) != 0).sum(1)
  return bool(counts.max() <= kept)


def _split_kept(
  packed: np.ndarray, bits: int, kept_of: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the kept values and the numbers of their patterns, as bytes."""
  kept, group = kept_of
  runs = unpack_fields(packed, bits).reshape(-1, group)
  # The places of all that is not zero, filled up with the first others.
  places = np.argsort(runs == 0, axis=1, kind="stable")[:, :kept]
  places = np.sort(places, axis=1)
  count = math.comb(group, kept)
  numbers = _pattern_numbers(places, kept_of)
  digits = patterns_per_byte(count)
  numbers = np.pad(numbers, (0, -len(numbers) % digits)).reshape(-1, digits)
  values = np.take_along_axis(runs, places, axis=1).reshape(-1)
  return (
    pack_fields(values, bits_in_values(bits)),
    (numbers @ count ** np.arange(digits)).astype(np.uint8),
  )


def _pattern_numbers(
  places: np.ndarray, kept_of: tuple[int, int]
) -> np.ndarray:
  """Returns where rows of `places` stand among `patterns(kept_of)`."""
  kept, group = kept_of
  last = math.comb(group, kept) - 1
  numbers = np.full(len(places), last)
  # Taken away is how many patterns come after, by the first place to differ. A
  # table of all places at once would not fit into memory for 15 of 16.
  for at in range(kept):
    after = [math.comb(group - 1 - p, kept - at) for p in range(group)]
    # More than `last` stands only where no row can point.
    numbers -= np.minimum(after, last)[places[:, at]]
  return numbers


def _deflate(data: bytes) -> tuple[int, bytes]:
  """Returns the better strategy of DEFLATE and what it makes of data."""
  tried = []
  for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY):
    coder = zlib.compressobj(9, zlib.DEFLATED, -15, 9, strategy)
    tried.append((strategy, coder.compress(data) + coder.flush()))
  return min(tried, key=lambda pair: len(pair[1]))


def _write_zip(members: dict[str, bytes], path: str) -> None:
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, data in members.items():
      entry = zipfile.ZipInfo(name, _EPOCH)
      entry.compress_type = zipfile.ZIP_DEFLATED
      with archive.open(entry, "w") as member:
        # `zipfile` knows levels only; the strategy is worth a tenth.
        member._compressor = zlib.compressobj(  # type: ignore[attr-defined]
          9, zlib.DEFLATED, -15, 9, _deflate(data)[0]
        )
        member.write(data)

"""Hostile .tflite files, packages and archives, and who must bear them."""

import contextlib
import dataclasses
import json
import os
import pathlib
import random
import struct
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from lingvo_lite.stage.errors import InputError
from tflite_export.file_bytes import bytes_by_kind, flex_operations
from tflite_export.flatbuffer import read_flatbuffer, write_flatbuffer
from tflite_export.flatbuffer_check import OPERATORS
from tflite_export.flatbuffer_seal import (
  DESCRIPTION,
  LABELS,
  check_seal,
  read_metadata,
  sealed,
)
from tflite_export.fuzz_runtime import RuntimeProcess
from tflite_export.fuzz_samples import (
  indexed,
  small_package,
  small_transport,
)
from tflite_export.package_check import INDEX, check_package
from tflite_export.signature_names import STREAM
from tflite_export.signatures import check_signatures, read_signatures
from tflite_export.transport_reader import LAYOUT, read_transport

_INTERESTING = [0, 1, 2, 4, 7, 8, 127, 128, 255, 256, 65535, 2**31 - 1, 2**31]
_INTERESTING += [2**32 - n for n in (1, 2, 4, 8, 1000)]
_SECONDS_A_CASE = 5.0
_ODD_VALUES = (
  None,
  True,
  -1,
  2**70,
  1e308,
  "",
  "../x",
  [],
  {},
  [[]],
  "a" * 300,
)


@dataclasses.dataclass
class FuzzCount:
  """What became of the cases.

  Attributes:
    cases: how many were tried.
    refused: of them, with an InputError.
    passed: of them, as files that are as good as sound ones.
    run: of those that passed, files that LiteRT loaded and ran.
    not_run: of those that passed, files that LiteRT refused with an error.
    slowest_s: seconds of the slowest case.
  """

  cases: int = 0
  refused: int = 0
  passed: int = 0
  run: int = 0
  not_run: int = 0
  slowest_s: float = 0.0

  def add(self, other: "FuzzCount") -> None:
    """Adds the cases of another."""
    self.cases += other.cases
    self.refused += other.refused
    self.passed += other.passed
    self.run += other.run
    self.not_run += other.not_run
    self.slowest_s = max(self.slowest_s, other.slowest_s)


def mutate(contents: bytes, rng: random.Random) -> bytes:
  """Returns a file that was changed where it hurts.

  One to four changes: a bit; a word or half word to a number at some edge,
  where an offset, a count, a size or an index may be; an offset turned to
  another place; a stretch copied over another, cut out or put in; the end cut
  off.
  """
  changed = bytearray(contents)
  for _ in range(rng.choice((1, 1, 1, 2, 4))):
    if len(changed) < 16:
      return bytes(changed)
    kind = rng.randrange(8)
    word = rng.randrange(len(changed) // 4 - 1) * 4
    place = rng.randrange(len(changed) - 8)
    if kind == 0:
      changed[place] ^= 1 << rng.randrange(8)
    elif kind == 1:
      struct.pack_into("<I", changed, word, rng.choice(_INTERESTING))
    elif kind == 2:
      value = rng.choice(_INTERESTING) & 0xFFFF
      struct.pack_into("<H", changed, place & ~1, value)
    elif kind == 3:
      # A small step: from one table, or one field, into the next.
      (value,) = struct.unpack_from("<I", changed, word)
      step = rng.choice((-8, -4, -2, -1, 1, 2, 4, 8, 16, 64))
      struct.pack_into("<I", changed, word, (value + step) % 2**32)
    elif kind == 4:
      target = rng.randrange(len(changed))
      struct.pack_into("<I", changed, word, (target - word) % 2**32)
    elif kind == 5:
      size = rng.randrange(1, 64)
      source = rng.randrange(len(changed))
      changed[place : place + size] = changed[source : source + size]
    elif kind == 6:
      size = rng.randrange(1, 32)
      if rng.random() < 0.5:
        del changed[place : place + size]
      else:
        changed[place:place] = rng.randbytes(size)
    else:
      del changed[rng.randrange(len(changed)) :]
  return bytes(changed)


def mutate_model(contents: bytes, rng: random.Random) -> bytes:
  """Returns a file whose flatbuffer is sound, but not the model in it.

  One to three changes: another operation, type, shape, constant or option,
  another input or output of an operation or of a graph, an operation more or
  less.
  """
  model = read_flatbuffer(contents)
  for _ in range(rng.choice((1, 1, 2, 3))):
    graph = rng.choice(model.subgraphs)
    operator = rng.choice(graph.operators or [schema.OperatorT()])
    tensor = rng.choice(graph.tensors)
    kind = rng.randrange(10)
    if kind == 0:
      code = rng.choice(model.operatorCodes)
      code.builtinCode = rng.choice(sorted(OPERATORS))
      code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    elif kind == 1:
      tensor.type = rng.choice((0, 2, 3, 4, 6, 7, 8, 9, 17, 19))
    elif kind == 2:
      sizes = (0, 1, 2, 3, 7, 64, 4096)
      shape = [rng.choice(sizes) for _ in range(rng.randrange(6))]
      tensor.shape = np.array(shape, np.int32)
    elif kind == 3:
      tensor.buffer = rng.randrange(len(model.buffers))
    elif kind == 4:
      _change_integers(rng.choice(model.buffers), rng)
    elif kind in (5, 6):
      holder, name = rng.choice(
        (
          (operator, "inputs"),
          (operator, "outputs"),
          (graph, "inputs"),
          (graph, "outputs"),
        )
      )
      indices = [] if getattr(holder, name) is None else getattr(holder, name)
      changed = _changed_list(list(indices), len(graph.tensors), rng)
      setattr(holder, name, np.array(changed, np.int32))
    elif kind == 7 and operator.builtinOptions is not None:
      options = vars(operator.builtinOptions)
      name = rng.choice(sorted(options) or [""])
      if isinstance(options.get(name), (bool, int)):
        options[name] = rng.choice((0, 1, 2, 7, 100))
    elif kind == 8 and graph.operators:
      place = rng.randrange(len(graph.operators))
      if rng.random() < 0.5:
        del graph.operators[place]
      else:
        graph.operators.insert(place, operator)
    elif kind == 9 and tensor.quantization is not None:
      tensor.quantization = None
  try:
    return write_flatbuffer(model)
  except (struct.error, TypeError, OverflowError):
    return contents


def _change_integers(buffer: schema.BufferT, rng: random.Random) -> None:
  if buffer.data is not None and len(buffer.data) >= 4:
    data = np.array(buffer.data, np.uint8)
    place = rng.randrange(len(data) // 4) * 4
    word = struct.pack("<I", rng.choice(_INTERESTING))
    data[place : place + 4] = np.frombuffer(word, np.uint8)
    buffer.data = data


def _changed_list(
  indices: list[int], limit: int, rng: random.Random
) -> list[int]:
  place = rng.randrange(len(indices) + 1)
  kind = rng.randrange(3)
  if kind == 0 or not indices:
    indices.insert(place, rng.randrange(limit))
  elif kind == 1:
    del indices[place % len(indices)]
  else:
    indices[place % len(indices)] = rng.randrange(-1, limit)
  return indices


def fuzz_files(
  cases: int, seed: int, whole: bytes, runtime: RuntimeProcess
) -> FuzzCount:
  """Gives changed .tflite files to our readers, and to LiteRT what passes.

  Their digests are made right again where there is room for one, so that more
  than the digest is tried.

  Args:
    cases: how many.
    seed: of the changes.
    whole: the file that is changed.
    runtime: LiteRT, in a process apart, for what passes.

  Returns:
    What became of them. Anything but an InputError is let through: a fault.

  Raises:
    InputError: the unchanged file is refused already: nothing would be tried.
  """
  rng = random.Random(seed)
  outputs = read_signatures(read_flatbuffer(whole))[STREAM]["outputs"]
  vocabulary_size = outputs["logits"]["shape"][-1]
  _read_everything(whole, vocabulary_size)

  def case() -> bool:
    change = rng.choice((mutate, mutate_model))
    file = _sealed_again(change(whole, rng))
    _read_everything(file, vocabulary_size)
    return runtime.runs(file)

  return _count(case for _ in range(cases))


def fuzz_packages(cases: int, seed: int) -> FuzzCount:
  """Gives changed packages to the check; arguments as of `fuzz_files`."""
  contents = small_package()
  return _fuzz_archives(
    cases, seed, lambda rng: _changed_package(contents, rng), check_package
  )


def fuzz_transports(cases: int, seed: int) -> FuzzCount:
  """Gives changed archives to the reader; arguments as of `fuzz_files`."""
  members = small_transport()
  return _fuzz_archives(
    cases, seed, lambda rng: _changed_transport(members, rng), read_transport
  )


def _fuzz_archives(
  cases: int,
  seed: int,
  change: Callable[[random.Random], bytes],
  read: Callable[[str], object],
) -> FuzzCount:
  rng = random.Random(seed)
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "archive.zip")

    def case() -> None:
      pathlib.Path(path).write_bytes(change(rng))
      read(path)

    return _count(case for _ in range(cases))


def _count(cases: Iterable[Callable[[], bool | None]]) -> FuzzCount:
  count = FuzzCount()
  for case in cases:
    started = time.process_time()
    count.cases += 1
    try:
      ran = case()
      count.passed += 1
      count.run += ran is True
      count.not_run += ran is False
    except InputError:
      count.refused += 1
    taken = time.process_time() - started
    count.slowest_s = max(count.slowest_s, taken)
    if taken > _SECONDS_A_CASE:
      raise RuntimeError(f"found {taken:.1f} s for one case")
  return count


def _sealed_again(file: bytes) -> bytes:
  """Returns a file with its digest right, if its structure is sound."""
  try:
    read_flatbuffer(file)
    return sealed(file)
  except InputError:
    return file


def _read_everything(file: bytes, vocabulary_size: int) -> None:
  model = read_flatbuffer(file)
  signatures = read_signatures(model)
  bytes_by_kind(file)
  flex_operations(file)
  for name in (LABELS, DESCRIPTION):
    read_metadata(file, name)
  check_seal(file)
  check_signatures(signatures, vocabulary_size)


def _changed_package(contents: dict[str, bytes], rng: random.Random) -> bytes:
  changed = dict(contents)
  kind = rng.randrange(4)
  if kind == 0:
    # A hostile model with all hashes right, its own too.
    change = rng.choice((mutate, mutate_model))
    model = _sealed_again(change(changed["models/a.tflite"], rng))
    changed["models/a.tflite"] = model
    index = json.loads(changed[INDEX])
    if rng.random() < 0.5:
      # Told as it is: what comes after is reached.
      with contextlib.suppress(InputError):
        signatures = read_signatures(read_flatbuffer(model))
        index["models"][0]["signatures"] = signatures
    changed[INDEX] = indexed(index, changed)
  elif kind == 1:
    changed[INDEX] = _changed_json(changed[INDEX], rng)
  elif kind == 2:
    name = rng.choice(sorted(changed))
    changed[rng.choice(("../a", "/a", "a//b", "A", name + "x"))] = changed.pop(
      name
    )
  archive = _zipped(changed)
  return mutate(archive, rng) if kind == 3 else archive


def _changed_json(text: bytes, rng: random.Random) -> bytes:
  """Puts another kind of value somewhere into a JSON text."""
  value = json.loads(text)
  holder = value
  for _ in range(rng.randrange(1, 7)):
    if not isinstance(holder, (dict, list)) or not holder:
      break
    keys = list(holder) if isinstance(holder, dict) else range(len(holder))
    key = rng.choice(list(keys))
    if rng.random() < 0.4:
      holder[key] = rng.choice(_ODD_VALUES)
      break
    holder = holder[key]
  changed = json.dumps(value).encode()
  if rng.random() < 0.1:
    changed = b"[" * rng.randrange(100_000) + changed
  return mutate(changed, rng) if rng.random() < 0.3 else changed


def _changed_transport(members: dict[str, bytes], rng: random.Random) -> bytes:
  changed = dict(members)
  kind = rng.randrange(4)
  if kind == 0:
    changed[LAYOUT] = _changed_json(changed[LAYOUT], rng)
  elif kind == 1:
    layout = json.loads(changed[LAYOUT])
    piece = rng.choice(layout["pieces"])
    piece[rng.randrange(3)] = rng.choice(
      (0, 1, 2, 3, 4, 8, 16, 32, 64, 255, *_INTERESTING)
    )
    changed[LAYOUT] = json.dumps(layout).encode()
  elif kind == 2:
    name = rng.choice(sorted(changed))
    changed[name] = mutate(changed[name], rng)
  archive = _zipped(changed)
  return mutate(archive, rng) if kind == 3 else archive


def _zipped(contents: dict[str, bytes]) -> bytes:
  with tempfile.TemporaryFile() as file:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
      for name, one in contents.items():
        archive.writestr(zipfile.ZipInfo(name), one)
    file.seek(0)
    return file.read()

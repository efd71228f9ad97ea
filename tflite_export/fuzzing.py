"""Hostile .tflite files and packages, for the code that must withstand them."""

import dataclasses
import hashlib
import json
import os
import pathlib
import random
import struct
import tempfile
import time
import zipfile
from collections.abc import Iterator

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from lingvo_lite.stage.errors import InputError
from tflite_export.file_bytes import bytes_by_kind, flex_operations
from tflite_export.flatbuffer import (
  DESCRIPTION,
  LABELS,
  check_seal,
  describe,
  read_flatbuffer,
  read_metadata,
  seal,
)
from tflite_export.package_check import INDEX, check_package
from tflite_export.signatures import check_signatures, read_signatures
from tflite_export.streaming_signatures import add_stream_ends

_INTERESTING = [0, 1, 2, 4, 7, 8, 127, 128, 255, 256, 65535, 2**31 - 1, 2**31]
_INTERESTING += [2**32 - n for n in (1, 2, 4, 8, 1000)]
_SECONDS_A_CASE = 5.0


@dataclasses.dataclass
class FuzzCount:
  """What became of the cases.

  Attributes:
    cases: how many were tried.
    refused: of them, with an InputError.
    passed: of them, as files that are as good as sound ones.
    slowest_s: seconds of the slowest case.
  """

  cases: int = 0
  refused: int = 0
  passed: int = 0
  slowest_s: float = 0.0


def small_streaming_file() -> bytes:
  """Returns a sealed file with all that a reader looks at, in a few kB."""
  model = schema.ModelT()
  model.version = 3
  model.operatorCodes = []
  model.buffers = [schema.BufferT()]
  model.metadata = []
  integers = schema.BufferT()
  integers.data = np.arange(24, dtype=np.uint8)
  model.buffers.append(integers)
  tensors = [
    _tensor(b"pcm", schema.TensorType.FLOAT32, [1, 1280]),
    _tensor(b"samples", schema.TensorType.INT32, [1]),
    _tensor(b"state", schema.TensorType.FLOAT32, [1, 9]),
    _tensor(b"labels", schema.TensorType.INT32, [2]),
    _tensor(b"frames", schema.TensorType.INT32, [2]),
    _tensor(b"count", schema.TensorType.INT32, [1]),
    _tensor(b"logits", schema.TensorType.FLOAT32, [1, 2, 4]),
    _tensor(b"kernel", schema.TensorType.INT8, [4, 6], buffer=1),
  ]
  tensors[-1].quantization = schema.QuantizationParametersT()
  tensors[-1].quantization.scale = np.arange(1, 5, dtype=np.float32)
  tensors[-1].quantization.zeroPoint = np.zeros(4, np.int64)
  graph = schema.SubGraphT()
  graph.tensors = tensors
  graph.inputs = np.array([0, 1, 2], np.int32)
  graph.outputs = np.array([3, 4, 5, 6, 2], np.int32)
  code = schema.OperatorCodeT()
  code.builtinCode = schema.BuiltinOperator.SQUEEZE
  code.deprecatedBuiltinCode = code.builtinCode
  model.operatorCodes.append(code)
  operator = schema.OperatorT()
  operator.opcodeIndex = 0
  operator.inputs = np.array([0, -1], np.int32)
  operator.outputs = np.array([6], np.int32)
  operator.builtinOptionsType = schema.BuiltinOptions.SqueezeOptions
  operator.builtinOptions = schema.SqueezeOptionsT()
  operator.builtinOptions.squeezeDims = np.array([0], np.int32)
  graph.operators = [operator]
  model.subgraphs = [graph]
  model.signatureDefs = []
  names = [t.name.decode() for t in tensors]
  for key, inputs, outputs in (
    ("stream", names[:3], [*names[3:7], "state"]),
    ("transcribe", ["pcm"], ["count", "labels", "logits"]),
  ):
    signature = schema.SignatureDefT()
    signature.signatureKey = key.encode()
    signature.inputs = [_entry(name, names.index(name)) for name in inputs]
    signature.outputs = [_entry(name, names.index(name)) for name in outputs]
    signature.subgraphIndex = 0
    model.signatureDefs.append(signature)
  add_stream_ends(model)
  describe(model, (" ", "A", "B"), {"licence": "Apache-2.0"})
  return seal(model)


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


def fuzz_files(cases: int, seed: int) -> FuzzCount:
  """Gives changed .tflite files to every reader of ours.

  Args:
    cases: how many.
    seed: of the changes.

  Returns:
    What became of them. Anything but an InputError is let through: a fault.
  """
  whole = small_streaming_file()
  rng = random.Random(seed)
  return _count(
    (lambda file=mutate(whole, rng): _read_everything(file))
    for _ in range(cases)
  )


def fuzz_packages(cases: int, seed: int) -> FuzzCount:
  """Gives changed packages to the check; arguments as of `fuzz_files`."""
  rng = random.Random(seed)
  contents = _small_package()
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "package.zip")

    def cases_of() -> Iterator:
      for _ in range(cases):
        pathlib.Path(path).write_bytes(_changed_package(contents, rng))
        yield lambda: check_package(path)

    return _count(cases_of())


def _count(cases: Iterator) -> FuzzCount:
  count = FuzzCount()
  for case in cases:
    started = time.process_time()
    count.cases += 1
    try:
      case()
      count.passed += 1
    except InputError:
      count.refused += 1
    taken = time.process_time() - started
    count.slowest_s = max(count.slowest_s, taken)
    if taken > _SECONDS_A_CASE:
      raise RuntimeError(f"found {taken:.1f} s for one case")
  return count


def _read_everything(file: bytes) -> None:
  model = read_flatbuffer(file)
  signatures = read_signatures(model)
  bytes_by_kind(file)
  flex_operations(file)
  for name in (LABELS, DESCRIPTION):
    read_metadata(file, name)
  check_signatures(signatures, 4)
  check_seal(file)


def _small_package() -> dict[str, bytes]:
  model = small_streaming_file()
  contents = {
    "models/a.tflite": model,
    "labels.txt": b" \nA\nB",
    "model_card.md": b"# Model card\n",
    "LICENSE": b"Apache-2.0\n",
  }
  index = {
    "schema_version": 1,
    "labels": [" ", "A", "B"],
    "models": [
      {
        "recipe": "a",
        "file": "models/a.tflite",
        "signatures": read_signatures(read_flatbuffer(model)),
      }
    ],
    "files": {},
  }
  contents[INDEX] = _indexed(index, contents)
  return contents


def _indexed(index: dict, contents: dict[str, bytes]) -> bytes:
  """Returns the index with the sizes and hashes as they now are."""
  index["files"] = {
    name: {
      "bytes": len(file),
      "sha256": hashlib.sha256(file).hexdigest(),
    }
    for name, file in contents.items()
    if name != INDEX
  }
  return json.dumps(index).encode()


def _changed_package(contents: dict[str, bytes], rng: random.Random) -> bytes:
  changed = dict(contents)
  kind = rng.randrange(4)
  if kind == 0:
    # A hostile model with hashes that are right.
    changed["models/a.tflite"] = mutate(changed["models/a.tflite"], rng)
    changed[INDEX] = _indexed(json.loads(changed[INDEX]), changed)
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
  odd = (None, True, -1, 2**70, 1e308, "", "../x", [], {}, [[]], "a" * 300)
  holder = value
  for _ in range(rng.randrange(1, 7)):
    if not isinstance(holder, (dict, list)) or not holder:
      break
    keys = list(holder) if isinstance(holder, dict) else range(len(holder))
    key = rng.choice(list(keys))
    if rng.random() < 0.4:
      holder[key] = rng.choice(odd)
      break
    holder = holder[key]
  changed = json.dumps(value).encode()
  if rng.random() < 0.1:
    changed = b"[" * rng.randrange(100_000) + changed
  return mutate(changed, rng) if rng.random() < 0.3 else changed


def _zipped(contents: dict[str, bytes]) -> bytes:
  with tempfile.TemporaryFile() as file:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
      for name, one in contents.items():
        archive.writestr(zipfile.ZipInfo(name), one)
    file.seek(0)
    return file.read()


def _tensor(name, kind, shape, buffer=0) -> schema.TensorT:
  tensor = schema.TensorT()
  tensor.name, tensor.type, tensor.buffer = name, kind, buffer
  tensor.shape = np.array(shape, np.int32)
  return tensor


def _entry(name: str, index: int) -> schema.TensorMapT:
  entry = schema.TensorMapT()
  entry.name, entry.tensorIndex = name.encode(), index
  return entry

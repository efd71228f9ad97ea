"""Small sound files and packages, for what changes them."""

import hashlib
import json
import os
import tempfile
import zipfile

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_export.flatbuffer import (
  describe,
  read_flatbuffer,
  seal,
  write_flatbuffer,
)
from tflite_export.package_check import INDEX
from tflite_export.signatures import read_signatures
from tflite_export.streaming_signatures import add_stream_ends
from tflite_export.transport import write_transport
from tflite_export.transport_reader import pack_fields


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
    _tensor(b"squeezed", schema.TensorType.FLOAT32, [9]),
  ]
  tensors[7].quantization = schema.QuantizationParametersT()
  tensors[7].quantization.scale = np.arange(1, 5, dtype=np.float32)
  tensors[7].quantization.zeroPoint = np.zeros(4, np.int64)
  graph = schema.SubGraphT()
  graph.tensors = tensors
  graph.inputs = np.array([0, 1, 2], np.int32)
  graph.outputs = np.array([3, 4, 5, 6, 2], np.int32)
  graph.operators = []
  names = [t.name.decode() for t in tensors]
  for kind in ("SQUEEZE", "FILL"):
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, kind)
    code.deprecatedBuiltinCode = code.builtinCode
    code.version = 1
    model.operatorCodes.append(code)
  squeeze = _operator(0, [2], [names.index("squeezed")])
  squeeze.builtinOptionsType = schema.BuiltinOptions.SqueezeOptions
  squeeze.builtinOptions = schema.SqueezeOptionsT()
  squeeze.builtinOptions.squeezeDims = np.array([0], np.int32)
  graph.operators.append(squeeze)
  for output in range(3, 7):
    output_type = int(tensors[output].type)
    value = np.zeros(1, np.int32)  # As bits, a float's zero too.
    graph.operators.append(
      _operator(
        1,
        [
          _constant(model, tensors, tensors[output].shape),
          _constant(model, tensors, value, output_type, []),
        ],
        [output],
      )
    )
  model.subgraphs = [graph]
  model.signatureDefs = []
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


def small_package() -> dict[str, bytes]:
  """Returns the files of a package with one model."""
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
  contents[INDEX] = indexed(index, contents)
  return contents


def indexed(index: dict, contents: dict[str, bytes]) -> bytes:
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


def small_transport() -> dict[str, bytes]:
  """Returns the members of a transport form with a piece of each kind."""
  rng = np.random.default_rng(0)
  model = read_flatbuffer(small_streaming_file())
  kernel = rng.integers(-7, 8, [16, 32]).astype(np.int8)
  sparse = kernel * (np.arange(32) % 4 < 2)
  for kind, bits, values in (
    (schema.TensorType.INT2, 2, sparse),
    (schema.TensorType.INT4, 4, sparse),
    (schema.TensorType.INT8, 8, kernel),
  ):
    buffer = schema.BufferT()
    fields = (values.reshape(-1) & 2**bits - 1).astype(np.uint8)
    buffer.data = pack_fields(fields, bits)
    tensor = _tensor(b"w", kind, values.shape, len(model.buffers))
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = rng.uniform(size=16).astype(np.float32)
    tensor.quantization.zeroPoint = np.zeros(16, np.int64)
    model.buffers.append(buffer)
    model.subgraphs[0].tensors.append(tensor)
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "m.tflite.zip")
    write_transport(write_flatbuffer(model), path)
    with zipfile.ZipFile(path) as archive:
      return {name: archive.read(name) for name in archive.namelist()}


def _tensor(name, kind, shape, buffer=0) -> schema.TensorT:
  tensor = schema.TensorT()
  tensor.name, tensor.type, tensor.buffer = name, kind, buffer
  tensor.shape = np.array(shape, np.int32)
  return tensor


def _constant(
  model: schema.ModelT,
  tensors: list[schema.TensorT],
  values: np.ndarray,
  kind: int = schema.TensorType.INT32,
  shape: list[int] | None = None,
) -> int:
  """Adds a constant; returns its index."""
  buffer = schema.BufferT()
  buffer.data = values.view(np.uint8)
  shape = [values.size] if shape is None else shape
  tensors.append(_tensor(b"", kind, shape, len(model.buffers)))
  model.buffers.append(buffer)
  return len(tensors) - 1


def _operator(
  code: int, inputs: list[int], outputs: list[int]
) -> schema.OperatorT:
  operator = schema.OperatorT()
  operator.opcodeIndex = code
  operator.inputs = np.array(inputs, np.int32)
  operator.outputs = np.array(outputs, np.int32)
  return operator


def _entry(name: str, index: int) -> schema.TensorMapT:
  entry = schema.TensorMapT()
  entry.name, entry.tensorIndex = name.encode(), index
  return entry

"""Reads, trims and writes .tflite files as the flatbuffers that they are."""

import json
from collections.abc import Iterator

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_export.flatbuffer_check import check_structure
from tflite_export.flatbuffer_seal import (
  DESCRIPTION,
  DIGEST,
  FILE_IDENTIFIER,
  LABELS,
  NO_DIGEST,
  sealed,
)

_ALIGNMENT = 16
_BITS = {
  schema.TensorType.INT8: 8,
  schema.TensorType.INT4: 4,
  schema.TensorType.INT2: 2,
}


class _SharingBuilder(flatbuffers.Builder):
  """Writes equal vectors once, and bytes at multiples of 16.

  The zero points of symmetric kernels are 8 zero bytes a channel, a tenth of
  an int4 file, unless tensors share them. Contents of tensors (bytes) are to
  be aligned as the schema says, which the generated code does not do.
  """

  def __init__(self):
    super().__init__(1 << 20)
    self._written = {}

  def CreateNumpyVector(self, x):  # noqa: N802 (flatbuffers calls it so)
    key = (x.dtype.str, x.tobytes())
    if key not in self._written:
      if x.dtype == np.uint8:
        self.Prep(_ALIGNMENT, x.size)
      self._written[key] = super().CreateNumpyVector(x)
    return self._written[key]


def read_flatbuffer(contents: bytes) -> schema.ModelT:
  """Parses a .tflite file.

  Args:
    contents: the file; whoever made it.

  Returns:
    An object that may be altered and given to `write_flatbuffer`. All buffers
    are inside, also those that the file keeps behind the flatbuffer.

  Raises:
    InputError: the file is not one that is safe to read.
  """
  check_structure(contents)
  model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(contents, 0))
  for buffer in model.buffers:
    if buffer.offset or buffer.size:
      end = buffer.offset + buffer.size
      buffer.data = np.frombuffer(contents[buffer.offset : end], np.uint8)
      buffer.offset = buffer.size = 0
  return model


def write_flatbuffer(model: schema.ModelT) -> bytes:
  """Returns the .tflite file of a model, buffers aligned to 16 bytes."""
  builder = _SharingBuilder()
  builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
  return bytes(builder.Output())


def trim(model: schema.ModelT) -> None:
  """Takes out, in place, what no runtime looks at.

  Tensors get short names (the converter's are a tenth of an int4 file); those
  of a signature keep theirs in the signature itself. Names stay different from
  each other.

  Args:
    model: what `read_flatbuffer` returned.
  """
  for subgraph in model.subgraphs:
    for index, tensor in enumerate(subgraph.tensors):
      tensor.name = _short_name(index)
      if tensor.quantization is not None and tensor.quantization.scale is None:
        tensor.quantization = None
  model.description = None
  model.metadata = []
  model.metadataBuffer = None


def shorten_biases(model: schema.ModelT) -> None:
  """Rounds the biases of matrices to 8 significant bits, in place.

  Those of the Keras model are so short already, but the converter folds a
  norm's offset into the bias of the matrix behind it. Short ones cost half in
  a compressed file; their error is a fraction of that of 8-bit activations.

  Args:
    model: what `read_flatbuffer` returned.
  """
  for subgraph in model.subgraphs:
    for operator in subgraph.operators:
      code = model.operatorCodes[operator.opcodeIndex].builtinCode
      if code != schema.BuiltinOperator.FULLY_CONNECTED:
        continue
      index = operator.inputs[2] if len(operator.inputs) > 2 else -1
      if index < 0:
        continue
      bias = subgraph.tensors[index]
      buffer = model.buffers[bias.buffer]
      # With static activations they are integers.
      floats = bias.type == schema.TensorType.FLOAT32
      if floats and buffer.data is not None and len(buffer.data):
        bits = np.asarray(buffer.data, np.uint8).view(np.uint32)
        # To the nearest, of two equally near to the even one.
        rounded = bits + 0x7FFF + (bits >> 16 & 1) & 0xFFFF0000
        buffer.data = rounded.astype(np.uint32).view(np.uint8)


def add_metadata(model: schema.ModelT, name: str, contents: bytes) -> None:
  """Adds a named piece of metadata, in place."""
  buffer = schema.BufferT()
  buffer.data = np.frombuffer(contents, np.uint8)
  entry = schema.MetadataT()
  entry.name = name.encode()
  entry.buffer = len(model.buffers)
  model.buffers.append(buffer)
  model.metadata = [*(model.metadata or []), entry]


def describe(
  model: schema.ModelT, labels: tuple[str, ...], description: dict
) -> None:
  """Puts labels (one a line) and a description (JSON) into a model."""
  add_metadata(model, LABELS, "\n".join(labels).encode())
  add_metadata(
    model, DESCRIPTION, json.dumps(description, sort_keys=True).encode()
  )


def seal(model: schema.ModelT) -> bytes:
  """Writes a model with the SHA-256 of the file inside the file.

  Args:
    model: what `read_flatbuffer` returned, described.

  Returns:
    The file. Its digest is that of the same file with zeros in its place.
  """
  add_metadata(model, DIGEST, NO_DIGEST)
  return sealed(write_flatbuffer(model))


def constants(
  model: schema.ModelT,
) -> Iterator[tuple[schema.TensorT, np.ndarray]]:
  """Yields each constant tensor once, with its bytes uint8[...]."""
  seen = set()
  for subgraph in model.subgraphs:
    for tensor in subgraph.tensors:
      contents = model.buffers[tensor.buffer].data
      if contents is None or not len(contents) or tensor.buffer in seen:
        continue
      seen.add(tensor.buffer)
      yield tensor, np.asarray(contents, np.uint8)


def integers_of(
  tensor: schema.TensorT, contents: np.ndarray
) -> tuple[int, np.ndarray] | None:
  """Unpacks a quantised constant.

  Args:
    tensor: one of the model's.
    contents: its bytes.

  Returns:
    Bits and int8 values in the tensor's shape, or None where it is not
    quantised. The lowest bits of a byte hold the first value.
  """
  bits = _BITS.get(tensor.type)
  if bits is None or tensor.quantization is None:
    return None
  places = np.arange(0, 8, bits, dtype=np.uint8)
  fields = (contents[:, np.newaxis] >> places) & (2**bits - 1)
  values = fields.reshape(-1)[: int(np.prod(tensor.shape))].astype(np.int16)
  values -= (values >= 2 ** (bits - 1)) * 2**bits
  return bits, values.astype(np.int8).reshape(tensor.shape)


def _short_name(index: int) -> bytes:
  digits = "0123456789abcdefghijklmnopqrstuvwxyz"
  name = ""
  while True:
    index, digit = divmod(index, len(digits))
    name = digits[digit] + name
    if not index:
      return name.encode()

"""What the bytes of a .tflite file are spent on."""

import gzip

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_export.flatbuffer import constants, integers_of, read_flatbuffer

_CONVOLUTIONS = (
  schema.BuiltinOperator.CONV_2D,
  schema.BuiltinOperator.DEPTHWISE_CONV_2D,
)


def bytes_by_kind(contents: bytes) -> dict[str, int]:
  """Splits a file's size.

  Args:
    contents: a .tflite file of our own making.

  Returns:
    Bytes of the kernels of integers, of their scales, of float matrices (the
    mel filters among them), of float convolutions, of other float constants
    (biases, norms, window), of the metadata and of the graph itself, which is
    all the rest. They add up to the file.
  """
  model = read_flatbuffer(contents)
  matrices, convolutions = _weight_buffers(model)
  kinds = dict.fromkeys(
    (
      "integer_kernels",
      "scales",
      "float_matrices",
      "float_convolutions",
      "float_vectors",
      "metadata",
    ),
    0,
  )
  for tensor, data in constants(model):
    if integers_of(tensor, data) is not None:
      kinds["integer_kernels"] += data.size
      kinds["scales"] += np.asarray(tensor.quantization.scale).nbytes
    elif tensor.type == schema.TensorType.FLOAT32:
      if tensor.buffer in matrices:
        kinds["float_matrices"] += data.size
      elif tensor.buffer in convolutions:
        kinds["float_convolutions"] += data.size
      else:
        kinds["float_vectors"] += data.size
  for entry in model.metadata or []:
    contained = model.buffers[entry.buffer].data
    kinds["metadata"] += 0 if contained is None else len(contained)
  kinds["graph"] = len(contents) - sum(kinds.values())
  return kinds


def gzip_bytes(contents: bytes) -> int:
  """Returns the size of a file after gzip, whatever its date."""
  return len(gzip.compress(contents, compresslevel=9, mtime=0))


def flex_operations(contents: bytes) -> int:
  """Returns how many operations need TensorFlow's own kernels (Flex)."""
  model = read_flatbuffer(contents)
  flex = {
    index
    for index, code in enumerate(model.operatorCodes)
    if (code.customCode or b"").startswith(b"Flex")
  }
  return sum(
    operator.opcodeIndex in flex
    for subgraph in model.subgraphs
    for operator in subgraph.operators
  )


def _weight_buffers(model: schema.ModelT) -> tuple[set[int], set[int]]:
  """Returns the buffers of fully connected and of convolution kernels."""
  matrices: set[int] = set()
  convolutions: set[int] = set()
  for subgraph in model.subgraphs:
    for operator in subgraph.operators:
      code = model.operatorCodes[operator.opcodeIndex].builtinCode
      if code == schema.BuiltinOperator.FULLY_CONNECTED:
        matrices.add(subgraph.tensors[operator.inputs[1]].buffer)
      elif code in _CONVOLUTIONS:
        convolutions.add(subgraph.tensors[operator.inputs[1]].buffer)
  return matrices, convolutions

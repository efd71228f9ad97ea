"""Which kernels LiteRT really runs the matrices of a file with."""

import dataclasses

from ai_edge_litert import schema_py_generated as schema

from lingvo_lite.stage.errors import InputError
from tflite_export.flatbuffer import read_flatbuffer
from tflite_export.interpreter import load_interpreter

_DELEGATE = "DELEGATE"


@dataclasses.dataclass(frozen=True)
class MatrixKernels:
  """How many of a file's int8 matrices are computed how.

  Attributes:
    block_sparse: by LiteRT's own kernel for packed blocks.
    delegated_dense: dense, by the default delegate (XNNPACK).
    other_dense: dense, by LiteRT's own kernel.
  """

  block_sparse: int
  delegated_dense: int
  other_dense: int


def check_kernels(contents: bytes) -> MatrixKernels:
  """Loads a file as a phone does and reads who got its int8 matrices.

  After the default delegate took what it wants, the plan of a graph lists the
  delegate's parts with all tensors that they read. A block-sparse matrix among
  them would be read as if it were dense. One that is not is computed by
  LiteRT's fully connected operation, whose only kernel for sparse int8 matrices
  with float activations is the one for packed blocks.

  Args:
    contents: a .tflite file with one graph.

  Returns:
    The counts.

  Raises:
    InputError: the delegate took a block-sparse matrix.
  """
  model = read_flatbuffer(contents)
  graph = model.subgraphs[0]
  sparse, dense = set(), set()
  for operator in graph.operators:
    code = model.operatorCodes[operator.opcodeIndex].builtinCode
    if code != schema.BuiltinOperator.FULLY_CONNECTED:
      continue
    place = int(operator.inputs[1])
    if graph.tensors[place].type == schema.TensorType.INT8:
      (sparse if graph.tensors[place].sparsity else dense).add(place)
  loaded = load_interpreter(contents, 1)
  taken = {
    int(place)
    for operation in loaded._get_ops_details()
    if operation["op_name"] == _DELEGATE
    for place in operation["inputs"]
  }
  if sparse & taken:
    raise InputError(
      f"found {len(sparse & taken)} of {len(sparse)} block-sparse matrices"
      " taken by LiteRT's default delegate, expected none: it would read them"
      " as dense; this is a fault of the exporter, please report it"
    )
  return MatrixKernels(len(sparse), len(dense & taken), len(dense - taken))

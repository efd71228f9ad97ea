"""The sparse encoding of .tflite files, for kernels with blocks of 1 x 16.

A matrix int8[outputs, inputs] is kept as its blocks of 16 inputs that are not
zero, row by row (compressed sparse rows, each entry a dense block). LiteRT has
a kernel for exactly this shape; other blocks it would unpack.

Reference: `SparsityParameters` in TensorFlow Lite's schema.fbs.
"""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from lingvo_lite.stage.errors import InputError

# The block that LiteRT's kernel for integers computes with.
KERNEL_BLOCK = 16
# Its ledger counts the blocks of a row in one byte.
_MAX_ROW_BLOCKS = 255


def check_block(block: int) -> None:
  """Raises InputError if LiteRT has no integer kernel for blocks of a model."""
  if block % KERNEL_BLOCK:
    raise InputError(
      f"found blocks of {block} weights, expected a multiple of {KERNEL_BLOCK}:"
      " LiteRT's block-sparse int8 kernel has that block; train with"
      f" --block={KERNEL_BLOCK}"
    )


def check_width(inputs: int, name: str) -> None:
  """Raises InputError if the kernel cannot compute with so wide a matrix.

  Args:
    inputs: its input width.
    name: what to call the matrix.
  """
  if inputs > KERNEL_BLOCK * _MAX_ROW_BLOCKS:
    raise InputError(
      f"found the input width {inputs} of {name}, expected at most"
      f" {KERNEL_BLOCK * _MAX_ROW_BLOCKS}: the block-sparse kernel counts the"
      " blocks of a row in one byte; choose a narrower model"
    )


def encode(
  integers: np.ndarray, name: str
) -> tuple[np.ndarray, schema.SparsityParametersT]:
  """Leaves out the blocks of zeros.

  Args:
    integers: int8[outputs, inputs]; 16 divides the inputs.
    name: what to call the matrix.

  Returns:
    uint8[...], the other blocks' bytes, and where they belong.

  Raises:
    InputError: the kernel cannot compute with so wide a matrix.
  """
  outputs, inputs = integers.shape
  check_width(inputs, name)
  blocks = integers.reshape(outputs, inputs // KERNEL_BLOCK, KERNEL_BLOCK)
  kept = blocks.any(-1)
  segments = np.concatenate([[0], np.cumsum(kept.sum(1))])
  rows = schema.DimensionMetadataT()
  rows.format = schema.DimensionType.DENSE
  rows.denseSize = outputs
  columns = schema.DimensionMetadataT()
  columns.format = schema.DimensionType.SPARSE_CSR
  columns.arraySegmentsType, columns.arraySegments = _vector(segments)
  columns.arrayIndicesType, columns.arrayIndices = _vector(np.nonzero(kept)[1])
  block = schema.DimensionMetadataT()
  block.format = schema.DimensionType.DENSE
  block.denseSize = KERNEL_BLOCK
  sparsity = schema.SparsityParametersT()
  sparsity.traversalOrder = np.array([0, 1, 2], np.int32)
  sparsity.blockMap = np.array([1], np.int32)
  sparsity.dimMetadata = [rows, columns, block]
  return blocks[kept].reshape(-1).view(np.uint8), sparsity


def decode(tensor: schema.TensorT, contents: np.ndarray) -> np.ndarray:
  """Returns what `encode` was given.

  Args:
    tensor: with a sparsity.
    contents: uint8[...], the bytes of its blocks.
  """
  outputs, inputs = (int(size) for size in tensor.shape)
  columns = tensor.sparsity.dimMetadata[1]
  segments = np.asarray(columns.arraySegments.values, np.int64)
  places = np.asarray(columns.arrayIndices.values, np.int64)
  blocks = np.zeros([outputs, inputs // KERNEL_BLOCK, KERNEL_BLOCK], np.int8)
  rows = np.repeat(np.arange(outputs), np.diff(segments))
  blocks[rows, places] = contents.view(np.int8).reshape(-1, KERNEL_BLOCK)
  return blocks.reshape(outputs, inputs)


def _vector(values: np.ndarray) -> tuple[int, object]:
  """Returns the type and the table of the narrowest vector that holds them."""
  largest = int(values.max(initial=0))
  if largest <= np.iinfo(np.uint8).max:
    table, kind = schema.Uint8VectorT(), schema.SparseIndexVector.Uint8Vector
    table.values = values.astype(np.uint8)
  elif largest <= np.iinfo(np.uint16).max:
    table, kind = schema.Uint16VectorT(), schema.SparseIndexVector.Uint16Vector
    table.values = values.astype(np.uint16)
  else:
    table, kind = schema.Int32VectorT(), schema.SparseIndexVector.Int32Vector
    table.values = values.astype(np.int32)
  return kind, table

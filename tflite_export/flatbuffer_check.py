"""Is a .tflite file safe to read? Asked before native code sees it.

Readers of flatbuffers trust the offsets, counts and indices inside: a file made
with malice can send them anywhere. This walks all of a file that runtimes look
at, in bounded time and memory, and lets pass only what this project's exporter
writes. Standard library only.

Reference: the tables are those of TensorFlow Lite's schema.fbs, version 3.
"""

import math
from collections.abc import Iterable

from lingvo_lite.stage.errors import InputError
from tflite_export.flatbuffer_operators import (
  OPERATORS,
  Constant,
  Place,
  check_operator,
)
from tflite_export.flatbuffer_tables import Reader, Table, UnsafeError

MAX_BYTES = 1 << 30
_MAX_RANK = 8
_MAX_TENSOR_ELEMENTS = 1 << 28
_MEND = "export the model again, or get the package again from its maker"

# TensorType -> bits an element.
_BITS = {0: 32, 2: 32, 3: 8, 4: 64, 6: 8, 7: 16, 8: 64, 9: 8, 17: 4, 19: 2}


def check_structure(contents: bytes) -> None:
  """Checks that everything in a .tflite file lies where it says.

  Offsets, vectors and strings lie in the file; tensors, buffers, operations and
  signatures that are referred to exist; constants have the bytes that their
  shapes tell; operations are built in and among those the exporter writes.

  Args:
    contents: the file.

  Raises:
    InputError: it is not so; the file must not be given to native code.
  """
  if len(contents) > MAX_BYTES:
    raise InputError(
      f"found a .tflite file of {len(contents)} bytes, expected at most"
      f" {MAX_BYTES}: {_MEND}"
    )
  try:
    reader = Reader(contents)
    _check_model(reader, Table(reader, reader.number("<I", 0), 8))
  except UnsafeError as unsafe:
    raise InputError(
      f"found a .tflite file with {unsafe}, expected a sound one: {_MEND}"
    ) from None


def _check_model(reader: Reader, model: Table) -> None:
  if model.scalar(0, "<I", 0) != 3:
    raise UnsafeError("another schema version than 3")
  codes = []
  for code in model.tables(1, 4):
    number = max(code.scalar(0, "<b", 0), code.scalar(3, "<i", 0))
    if number not in OPERATORS or code.text(1):
      raise UnsafeError(f"the operation {number}, which is not expected")
    codes.append(number)
  model.text(3)
  buffers = []
  for buffer in model.tables(4, 3):
    start, inside = buffer.vector(0, 1)
    offset, size = buffer.scalar(1, "<Q", 0), buffer.scalar(2, "<Q", 0)
    if inside and (offset or size):
      raise UnsafeError("a buffer in two places")
    # Contents may lie behind the flatbuffer.
    reader.require(offset, size)
    buffers.append((start, inside) if inside else (offset, size))
  _each_below(model.numbers(5, "i"), len(buffers), "buffer")
  for entry in model.tables(6, 2):
    entry.text(0)
    _each_below([entry.scalar(1, "<I", 0)], len(buffers), "buffer")
  tensors_of_graphs = [
    _check_graph(reader, graph, codes, buffers) for graph in model.tables(2, 5)
  ]
  if not tensors_of_graphs:
    raise UnsafeError("no graph")
  for signature in model.tables(7, 5):
    signature.text(2)
    graph = signature.scalar(4, "<I", 0)
    _each_below([graph], len(tensors_of_graphs), "graph")
    for slot in (0, 1):
      for entry in signature.tables(slot, 2):
        entry.text(0)
        _each_below(
          [entry.scalar(1, "<I", 0)], tensors_of_graphs[graph], "tensor"
        )


def _check_graph(
  reader: Reader, graph: Table, codes: list[int], buffers: list[Place]
) -> int:
  """Checks one graph and returns how many tensors it has."""
  graph.text(4)
  constants = [_check_tensor(tensor, buffers) for tensor in graph.tables(0, 10)]
  if graph.place(0, 4) is None or graph.place(3, 4) is None:
    raise UnsafeError("a graph without tensors or operations")
  for slot in (1, 2):
    _each_below(graph.numbers(slot, "i"), len(constants), "tensor")
  # What is there before the first operation: native code takes it for granted
  # that what an operation reads was computed before it.
  ready = [bool(constant.place[1]) for constant in constants]
  for index in graph.numbers(1, "i"):
    ready[index] = True
  for operator in graph.tables(3, 13):
    number = operator.scalar(0, "<I", 0)
    _each_below([number], len(codes), "operation")
    check_operator(reader, operator, codes[number], constants, ready)
  if not all(ready[index] for index in graph.numbers(2, "i")):
    raise UnsafeError("a graph whose output nothing computes")
  return len(constants)


def _check_tensor(tensor: Table, buffers: list[Place]) -> Constant:
  """Checks a tensor; returns where what it holds is."""
  shape = tensor.numbers(0, "i")
  kind = tensor.scalar(1, "<b", 0)
  buffer = tensor.scalar(2, "<I", 0)
  tensor.text(3)
  _check_quantization(tensor.table(4, 7), shape)
  sparsity = tensor.table(6, 3)
  signature = tensor.numbers(7, "i")
  if tensor.vector(9, 4)[1]:
    raise UnsafeError("a tensor of variants")
  if len(shape) > _MAX_RANK or any(size < 0 for size in shape):
    raise UnsafeError(f"a tensor of shape {list(shape)[: _MAX_RANK + 1]}")
  if signature and len(signature) != len(shape):
    raise UnsafeError("a tensor of two ranks")
  elements = math.prod(shape)
  if elements > _MAX_TENSOR_ELEMENTS:
    raise UnsafeError(f"a tensor of {elements} elements")
  if kind not in _BITS:
    raise UnsafeError(f"a tensor of type {kind}")
  _each_below([buffer], len(buffers), "buffer")
  if sparsity is not None:
    _check_sparsity(sparsity, len(shape))
  elif buffers[buffer][1] not in (0, -(-elements * _BITS[kind] // 8)):
    raise UnsafeError(
      f"{buffers[buffer][1]} bytes for a constant of shape {list(shape)}"
    )
  return Constant(kind, buffers[buffer])


def _check_quantization(
  quantization: Table | None, shape: tuple[int, ...]
) -> None:
  if quantization is None:
    return
  for slot in (0, 1):
    quantization.vector(slot, 4)
  scales = quantization.vector(2, 4)[1]
  points = quantization.vector(3, 8)[1]
  if quantization.scalar(4, "<B", 0):
    raise UnsafeError("quantization of another kind")
  axis = quantization.scalar(6, "<i", 0)
  if scales > 1 and (not 0 <= axis < len(shape) or shape[axis] != scales):
    raise UnsafeError(f"{scales} scales for a tensor of shape {list(shape)}")
  if points not in (0, scales):
    raise UnsafeError(f"{points} zero points beside {scales} scales")


def _check_sparsity(sparsity: Table, rank: int) -> None:
  order = sparsity.numbers(0, "i")
  blocks = sparsity.numbers(1, "i")
  _each_below(order, rank + len(blocks), "axis")
  _each_below(blocks, rank, "axis")
  dimensions = 0
  # Vectors of int32, uint16 and uint8, each in a table of its own.
  sizes = {1: 4, 2: 2, 3: 1}
  for dimension in sparsity.tables(2, 6):
    dimensions += 1
    if dimension.scalar(1, "<i", 0) < 0:
      raise UnsafeError("a dimension of negative size")
    for slot in (2, 4):
      kind = dimension.scalar(slot, "<B", 0)
      indices = dimension.table(slot + 1, 1)
      if kind and (indices is None or kind not in sizes):
        raise UnsafeError("a sparse tensor without its indices")
      if kind and indices is not None:
        indices.vector(0, sizes[kind])
  if sorted(order) != list(range(dimensions)):
    raise UnsafeError("a sparse tensor whose axes do not match")


def _each_below(numbers: Iterable[int], limit: int, what: str) -> None:
  for number in numbers:
    if not 0 <= number < limit:
      raise UnsafeError(f"the {what} {number} of {limit}")

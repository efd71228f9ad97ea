"""Is a .tflite file safe to read? Asked before native code sees it.

Readers of flatbuffers trust the offsets, counts and indices inside: a file made
with malice can send them anywhere. This walks all of a file that runtimes look
at, in bounded time and memory, and lets pass only what this project's exporter
writes. Standard library only.

Reference: the tables are those of TensorFlow Lite's schema.fbs, version 3.
"""

import math
import struct
from collections.abc import Iterator

from lingvo_lite.stage.errors import InputError

MAX_BYTES = 1 << 30
_MAX_TABLES = 200_000
_MAX_RANK = 8
_MAX_TENSOR_ELEMENTS = 1 << 28
_MEND = "export the model again, or get the package again from its maker"

# Numbers of schema.fbs. BuiltinOperator: those that the exporter writes.
OPERATORS = {
  0: "ADD",
  2: "CONCATENATION",
  3: "CONV_2D",
  4: "DEPTHWISE_CONV_2D",
  6: "DEQUANTIZE",
  9: "FULLY_CONNECTED",
  14: "LOGISTIC",
  18: "MUL",
  22: "RESHAPE",
  25: "SOFTMAX",
  34: "PAD",
  36: "GATHER",
  39: "TRANSPOSE",
  40: "MEAN",
  41: "SUB",
  43: "SQUEEZE",
  45: "STRIDED_SLICE",
  49: "SPLIT",
  53: "CAST",
  55: "MAXIMUM",
  56: "ARG_MAX",
  57: "MINIMUM",
  58: "LESS",
  59: "NEG",
  61: "GREATER",
  62: "GREATER_EQUAL",
  63: "LESS_EQUAL",
  65: "SLICE",
  66: "SIN",
  70: "EXPAND_DIMS",
  71: "EQUAL",
  72: "NOT_EQUAL",
  73: "LOG",
  74: "SUM",
  75: "SQRT",
  76: "RSQRT",
  77: "SHAPE",
  78: "POW",
  81: "REDUCE_PROD",
  82: "REDUCE_MAX",
  83: "PACK",
  86: "LOGICAL_AND",
  88: "UNPACK",
  90: "FLOOR_DIV",
  92: "SQUARE",
  94: "FILL",
  96: "RANGE",
  99: "SQUARED_DIFFERENCE",
  102: "SPLIT_V",
  108: "COS",
  109: "WHERE",
  123: "SELECT_V2",
  124: "DENSIFY",
  126: "BATCH_MATMUL",
  128: "CUMSUM",
  130: "BROADCAST_TO",
  131: "RFFT2D",
  135: "COMPLEX_ABS",
  # A quantizer of activations would write it.
  114: "QUANTIZE",
}
# TensorType -> bits an element.
_BITS = {0: 32, 2: 32, 3: 8, 4: 64, 6: 8, 7: 16, 8: 64, 9: 8, 17: 4, 19: 2}
# BuiltinOptions of these operations: numbers of up to four bytes, no more than
# this many.
_OPTIONS = {0, 1, 2, 8, 9, 10, 11, 17, 21, 22, 23, 26, 27, 28, 30, 32, 35, 37}
_OPTIONS |= {38, 39, 40, 41, 42, 44, 45, 46, 48, 52, 53, 54, 55, 56, 59, 62, 64}
_OPTIONS |= {65, 66, 68, 73, 76, 79, 84, 85, 89, 98, 99, 101, 102, 104, 105}
_MAX_OPTIONS = 8
# BuiltinOptions that hold a vector of int32: Reshape and Squeeze, field 0.
_VECTOR_OPTIONS = (17, 30)
# BuiltinOperator: CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED.
_KERNELS = (3, 4, 9)


class _UnsafeError(Exception):
  """What is wrong, for the one place that turns it into InputError."""


class _Table:
  """A table whose own bytes lie in the file.

  Args:
    reader: of the file.
    position: where the table is.
    fields: how many the schema has; what a newer one adds is not checked, so it
      must not be there.
  """

  def __init__(self, reader: "_Reader", position: int, fields: int):
    self._reader = reader
    self._position = position
    self._inline, self._offsets = reader.form(
      position - reader.number("<i", position)
    )
    reader.require(position, self._inline)
    if len(self._offsets) > fields:
      raise _UnsafeError("a field that this release does not know")
    reader.spend()

  def place(self, slot: int, size: int) -> int | None:
    """Returns where a field's bytes begin; None: it is left out."""
    if slot >= len(self._offsets):
      return None
    offset = self._offsets[slot]
    if not offset:
      return None
    if offset < 4 or offset + size > self._inline:
      raise _UnsafeError("a field outside its table")
    return self._position + offset

  def scalar(self, slot: int, form: str, default: int) -> int:
    place = self.place(slot, struct.calcsize(form))
    return default if place is None else self._reader.number(form, place)

  def check_small_fields(self) -> None:
    """Checks that fields of up to four bytes, whichever, lie in the file."""
    for slot in range(len(self._offsets)):
      place = self.place(slot, 1)
      if place is not None:
        self._reader.require(place, 4)

  def table(self, slot: int, fields: int) -> "_Table | None":
    place = self.place(slot, 4)
    if place is None:
      return None
    target = place + self._reader.number("<I", place)
    return _Table(self._reader, target, fields)

  def vector(self, slot: int, size: int) -> tuple[int, int]:
    """Returns where a vector's elements begin, and how many there are."""
    place = self.place(slot, 4)
    if place is None:
      return 0, 0
    start = place + self._reader.number("<I", place)
    count = self._reader.number("<I", start)
    self._reader.require(start + 4, count * size)
    return start + 4, count

  def numbers(self, slot: int, code: str) -> tuple[int, ...]:
    """Returns a vector of numbers; `code` as in `struct`."""
    start, count = self.vector(slot, struct.calcsize("<" + code))
    self._reader.spend(count)
    return struct.unpack_from(f"<{count}{code}", self._reader.contents, start)

  def text(self, slot: int) -> bytes:
    start, count = self.vector(slot, 1)
    if count:
      self._reader.require(start, count + 1)  # Native code wants its zero byte.
      if self._reader.contents[start + count]:
        raise _UnsafeError("a string without an end")
    return self._reader.contents[start : start + count]

  def tables(self, slot: int, fields: int) -> Iterator["_Table"]:
    start, count = self.vector(slot, 4)
    for index in range(count):
      place = start + 4 * index
      target = place + self._reader.number("<I", place)
      yield _Table(self._reader, target, fields)


class _Reader:
  """Reads numbers inside a file, and only so many tables."""

  def __init__(self, contents: bytes):
    self.contents = contents
    self._size = len(contents)
    self._left = _MAX_TABLES
    self._forms: dict[int, tuple[int, tuple[int, ...]]] = {}

  def number(self, form: str, place: int) -> int:
    # Less than 0 would be counted from the end.
    if place >= 0:
      try:
        return struct.unpack_from(form, self.contents, place)[0]
      except struct.error:
        pass
    raise _UnsafeError("an offset outside the file")

  def require(self, place: int, size: int) -> None:
    if place < 0 or place + size > self._size:
      raise _UnsafeError("an offset outside the file")

  def form(self, vtable: int) -> tuple[int, tuple[int, ...]]:
    """Returns a table's bytes and where in it its fields are; 0: left out.

    Tables of one form share it: it is read once, since this check is a good
    part of what opening a file takes.
    """
    if vtable not in self._forms:
      size = self.number("<H", vtable)
      inline = self.number("<H", vtable + 2)
      if size < 4 or size % 2 or inline < 4:
        raise _UnsafeError("a table without a form")
      self.require(vtable, size)
      self.spend(size // 2)
      offsets = struct.unpack_from(
        f"<{size // 2 - 2}H", self.contents, vtable + 4
      )
      if max(offsets, default=0) >= inline:
        raise _UnsafeError("a field outside its table")
      fields = max((i + 1 for i, at in enumerate(offsets) if at), default=0)
      self._forms[vtable] = inline, offsets[:fields]
    return self._forms[vtable]

  def spend(self, amount: int = 1) -> None:
    # Tables may share parts; a small file could unfold to any size.
    self._left -= amount
    if self._left < 0:
      raise _UnsafeError(f"more than {_MAX_TABLES} parts")


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
    reader = _Reader(contents)
    _check_model(reader, _Table(reader, reader.number("<I", 0), 8))
  except _UnsafeError as unsafe:
    raise InputError(
      f"found a .tflite file with {unsafe}, expected a sound one: {_MEND}"
    ) from None


def _check_model(reader: _Reader, model: _Table) -> None:
  if model.scalar(0, "<I", 0) != 3:
    raise _UnsafeError("another schema version than 3")
  codes = []
  for code in model.tables(1, 4):
    number = max(code.scalar(0, "<b", 0), code.scalar(3, "<i", 0))
    if number not in OPERATORS or code.text(1):
      raise _UnsafeError(f"the operation {number}, which is not expected")
    codes.append(number)
  model.text(3)
  buffers = []
  for buffer in model.tables(4, 3):
    inside = buffer.vector(0, 1)[1]
    offset, size = buffer.scalar(1, "<Q", 0), buffer.scalar(2, "<Q", 0)
    if inside and (offset or size):
      raise _UnsafeError("a buffer in two places")
    # Contents may lie behind the flatbuffer.
    reader.require(offset, size)
    buffers.append(inside or size)
  _each_below(model.numbers(5, "i"), len(buffers), "buffer")
  for entry in model.tables(6, 2):
    entry.text(0)
    _each_below([entry.scalar(1, "<I", 0)], len(buffers), "buffer")
  tensors_of_graphs = [
    _check_graph(graph, codes, buffers) for graph in model.tables(2, 5)
  ]
  if not tensors_of_graphs:
    raise _UnsafeError("no graph")
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


def _check_graph(graph: _Table, codes: list[int], buffers: list[int]) -> int:
  """Checks one graph and returns how many tensors it has."""
  graph.text(4)
  tensors = 0
  for tensor in graph.tables(0, 10):
    _check_tensor(tensor, buffers)
    tensors += 1
  if graph.place(0, 4) is None or graph.place(3, 4) is None:
    raise _UnsafeError("a graph without tensors or operations")
  for slot in (1, 2):
    _each_below(graph.numbers(slot, "i"), tensors, "tensor")
  # Of a matrix or a convolution the second input is the kernel.
  needed = [2 if code in _KERNELS else 0 for code in codes]
  for operator in graph.tables(3, 13):
    _each_below([operator.scalar(0, "<I", 0)], len(codes), "operation")
    if operator.vector(1, 4)[1] < needed[operator.scalar(0, "<I", 0)]:
      raise _UnsafeError("an operation without its inputs")
    for slot in (1, 2, 8):
      # -1 stands for an input that is left out.
      indices = operator.numbers(slot, "i")
      _each_below([i for i in indices if i != -1], tensors, "tensor")
    if operator.vector(5, 1)[1] or operator.vector(7, 1)[1]:
      raise _UnsafeError("an operation with custom options")
    for slot in (9, 10):
      if operator.scalar(slot, "<Q", 0):
        raise _UnsafeError("an operation with custom options")
    if operator.scalar(11, "<B", 0):
      raise _UnsafeError("an operation with options of the second kind")
    kind = operator.scalar(3, "<B", 0)
    options = operator.table(4, _MAX_OPTIONS)
    if kind not in _OPTIONS:
      raise _UnsafeError(f"an operation with options of the kind {kind}")
    if kind and options is None:
      raise _UnsafeError("an operation without its options")
    if options is not None:
      options.check_small_fields()
      if kind in _VECTOR_OPTIONS:
        options.numbers(0, "i")
  return tensors


def _check_tensor(tensor: _Table, buffers: list[int]) -> None:
  shape = tensor.numbers(0, "i")
  kind = tensor.scalar(1, "<b", 0)
  buffer = tensor.scalar(2, "<I", 0)
  tensor.text(3)
  _check_quantization(tensor.table(4, 7), shape)
  sparsity = tensor.table(6, 3)
  signature = tensor.numbers(7, "i")
  if tensor.vector(9, 4)[1]:
    raise _UnsafeError("a tensor of variants")
  if len(shape) > _MAX_RANK or any(size < 0 for size in shape):
    raise _UnsafeError(f"a tensor of shape {list(shape)[: _MAX_RANK + 1]}")
  if signature and len(signature) != len(shape):
    raise _UnsafeError("a tensor of two ranks")
  elements = math.prod(shape)
  if elements > _MAX_TENSOR_ELEMENTS:
    raise _UnsafeError(f"a tensor of {elements} elements")
  if kind not in _BITS:
    raise _UnsafeError(f"a tensor of type {kind}")
  _each_below([buffer], len(buffers), "buffer")
  if sparsity is not None:
    _check_sparsity(sparsity, len(shape))
  elif buffers[buffer] and buffers[buffer] != -(-elements * _BITS[kind] // 8):
    raise _UnsafeError(
      f"{buffers[buffer]} bytes for a constant of shape {list(shape)}"
    )


def _check_quantization(
  quantization: _Table | None, shape: tuple[int, ...]
) -> None:
  if quantization is None:
    return
  for slot in (0, 1):
    quantization.vector(slot, 4)
  scales = quantization.vector(2, 4)[1]
  points = quantization.vector(3, 8)[1]
  if quantization.scalar(4, "<B", 0):
    raise _UnsafeError("quantization of another kind")
  axis = quantization.scalar(6, "<i", 0)
  if scales > 1 and (not 0 <= axis < len(shape) or shape[axis] != scales):
    raise _UnsafeError(f"{scales} scales for a tensor of shape {list(shape)}")
  if points not in (0, scales):
    raise _UnsafeError(f"{points} zero points beside {scales} scales")


def _check_sparsity(sparsity: _Table, rank: int) -> None:
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
      raise _UnsafeError("a dimension of negative size")
    for slot in (2, 4):
      kind = dimension.scalar(slot, "<B", 0)
      indices = dimension.table(slot + 1, 1)
      if kind and (indices is None or kind not in sizes):
        raise _UnsafeError("a sparse tensor without its indices")
      if kind and indices is not None:
        indices.vector(0, sizes[kind])
  if sorted(order) != list(range(dimensions)):
    raise _UnsafeError("a sparse tensor whose axes do not match")


def _each_below(numbers, limit: int, what: str) -> None:
  for number in numbers:
    if not 0 <= number < limit:
      raise _UnsafeError(f"the {what} {number} of {limit}")

"""Is an operation of a .tflite file one that native code can be given?

Kernels take for granted what the converter always writes. Only the standard
library is used.
"""

import math
import struct
from typing import NamedTuple

from tflite_export.flatbuffer_tables import Reader, Table, UnsafeError

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
# BuiltinOptions of these operations: numbers of up to four bytes, no more than
# this many.
_OPTIONS = {0, 1, 2, 8, 9, 10, 11, 17, 21, 22, 23, 26, 27, 28, 30, 32, 35, 37}
_OPTIONS |= {38, 39, 40, 41, 42, 44, 45, 46, 48, 52, 53, 54, 55, 56, 59, 62, 64}
_OPTIONS |= {65, 66, 68, 73, 76, 79, 84, 85, 89, 98, 99, 101, 102, 104, 105}
_MAX_OPTIONS = 8
# BuiltinOptions that hold a vector of int32: Reshape and Squeeze, field 0.
_VECTOR_OPTIONS = (17, 30)
# Inputs and outputs, least and most, of BuiltinOperators; of others 2 and 1.
_MANY = 4096
_ARITIES = {
  **dict.fromkeys(
    (6, 14, 25, 43, 53, 59, 66, 73, 75, 76, 77, 92, 108, 109, 114, 124, 135),
    ((1, 1), (1, 1)),
  ),
  **dict.fromkeys((3, 4, 9, 65, 96, 123), ((3, 3), (1, 1))),
  2: ((1, _MANY), (1, 1)),
  45: ((4, 4), (1, 1)),
  49: ((2, 2), (1, _MANY)),
  83: ((1, _MANY), (1, 1)),
  88: ((1, 1), (1, _MANY)),
  102: ((3, 3), (1, _MANY)),
}
# BuiltinOptions that native code takes for granted beside a BuiltinOperator.
_OWN_OPTIONS = {
  0: 11, 2: 10, 3: 1, 4: 2, 9: 8, 18: 21, 22: 17, 25: 9, 36: 23, 40: 27, 41: 28,
  43: 30, 45: 32, 49: 35, 56: 40, 70: 52, 74: 27, 77: 55, 81: 27, 82: 27,
  83: 59, 88: 64, 102: 79, 126: 101, 128: 102,
}  # fmt: skip
# RESHAPE takes its shape from an input.
_FREE_OPTIONS = (22,)
# SPLIT, UNPACK, SPLIT_V: the options' field 0 counts outputs; PACK: inputs.
_COUNT_OUTPUTS, _COUNT_INPUTS = (49, 88, 102), (83,)
# Operations whose outputs are of the type of an input: which one. Not all
# kernels look: a smaller type than what is written to it corrupts memory.
_TYPE_OF = {
  **dict.fromkeys(
    (0, 2, 14, 18, 22, 25, 34, 36, 39, 40, 41, 43, 45, 55, 57, 59, 65, 66, 70),
    0,
  ),
  **dict.fromkeys(
    (73, 74, 75, 76, 78, 81, 82, 83, 88, 90, 92, 96, 99, 102, 108, 128, 130),
    0,
  ),
  **dict.fromkeys((49, 94, 123), 1),
}
# Two inputs of one type.
_ALIKE = (0, 18, 41, 55, 57, 58, 61, 62, 63, 71, 72, 78, 86, 90, 99, 126)
_COMPARISONS = (58, 61, 62, 63, 71, 72, 86)
_BOOL = 6
# INT4, INT2: of weights only, which an operation may unfold (DENSIFY).
_SMALL, _DENSIFY = (17, 19), 124
# PAD, FILL, BROADCAST_TO, RFFT2D: the input that says how large the output is.
# Where it is a constant, a few bytes could ask for any amount of memory.
_SIZES = {34: 1, 94: 0, 130: 1, 131: 1}
_RANGE = 96
_INTEGERS = {2: "i", 4: "q"}
_MAX_ASKED_ELEMENTS = 1 << 24
# CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED: the bias, input 2, may be left
# out.
_KERNELS = (3, 4, 9)
_BIAS = 2


Place = tuple[int, int]
"""Where bytes begin, and how many they are."""


class Constant(NamedTuple):
  """What a tensor holds from the start; no bytes: nothing."""

  kind: int
  place: Place


_Indices = tuple[int, ...]


def check_operator(
  reader: Reader,
  operator: Table,
  code: int,
  constants: list[Constant],
  ready: list[bool],
) -> None:
  """Checks an operation; the next of its graph.

  Args:
    reader: of the file.
    operator: the operation.
    code: its BuiltinOperator, one of `OPERATORS`.
    constants: the tensors of the graph.
    ready: which of them are computed before it; what it computes is noted.

  Raises:
    UnsafeError: native code must not be given it.
  """
  inputs, outputs = operator.numbers(1, "i"), operator.numbers(2, "i")
  _check_flow(code, inputs, outputs, ready)
  given = [constants[index] for index in inputs if index >= 0]
  _check_types(
    code,
    [one.kind for one in given],
    [constants[index].kind for index in outputs],
  )
  if code in _SIZES or code == _RANGE:
    _check_sizes(reader, code, given)
  if operator.vector(8, 4)[1]:
    raise UnsafeError("an operation with tensors of its own")
  if operator.vector(5, 1)[1] or operator.vector(7, 1)[1]:
    raise UnsafeError("an operation with custom options")
  for slot in (9, 10):
    if operator.scalar(slot, "<Q", 0):
      raise UnsafeError("an operation with custom options")
  if operator.scalar(11, "<B", 0):
    raise UnsafeError("an operation with options of the second kind")
  kind = operator.scalar(3, "<B", 0)
  options = operator.table(4, _MAX_OPTIONS)
  if kind not in _OPTIONS:
    raise UnsafeError(f"an operation with options of the kind {kind}")
  if kind != _OWN_OPTIONS.get(code, kind) and not (
    kind == 0 and code in _FREE_OPTIONS
  ):
    raise UnsafeError(f"{OPERATORS[code]} with options of the kind {kind}")
  if kind and options is None:
    raise UnsafeError("an operation without its options")
  if options is not None:
    options.check_small_fields()
    if kind in _VECTOR_OPTIONS:
      options.numbers(0, "i")
    _check_counts(options, code, inputs, outputs)


def _check_flow(
  code: int, inputs: _Indices, outputs: _Indices, ready: list[bool]
) -> None:
  """Checks what an operation reads and writes, and notes what it writes."""
  for found, (least, most) in zip(
    (inputs, outputs), _ARITIES.get(code, ((2, 2), (1, 1))), strict=True
  ):
    if not least <= len(found) <= most:
      raise UnsafeError(
        f"{len(found)} inputs or outputs of {OPERATORS[code]}, which has"
        f" {least} to {most}"
      )
  # In one loop with few calls: this is a good part of opening a file.
  tensors = len(ready)
  for place, index in enumerate(inputs):
    if not 0 <= index < tensors:
      if index == -1 and place == _BIAS and code in _KERNELS:
        continue
      raise UnsafeError(f"the tensor {index} of {tensors}")
    if not ready[index]:
      raise UnsafeError(f"the tensor {index}, read before it is computed")
  for index in outputs:
    if not 0 <= index < tensors:
      raise UnsafeError(f"the tensor {index} of {tensors}")
    if ready[index]:
      raise UnsafeError(f"the tensor {index}, computed twice")
    ready[index] = True


def _check_counts(
  options: Table, code: int, inputs: _Indices, outputs: _Indices
) -> None:
  """Checks that as many tensors are there as the options say."""
  if code in _COUNT_INPUTS or code in _COUNT_OUTPUTS:
    found = len(inputs if code in _COUNT_INPUTS else outputs)
    told = options.scalar(0, "<i", 0)
    if told != found:
      raise UnsafeError(
        f"{found} tensors of {OPERATORS[code]}, whose options say {told}"
      )


def _check_types(code: int, inputs: list[int], outputs: list[int]) -> None:
  """Checks that an operation's tensors are of types that go together."""
  expected = outputs[0]
  if code in _TYPE_OF:
    expected = inputs[_TYPE_OF[code]]
  elif code in _COMPARISONS:
    expected = _BOOL
  if (
    any(kind != expected for kind in outputs)
    or (code in _ALIKE and inputs[0] != inputs[1])
    or (expected in _SMALL and code != _DENSIFY)
  ):
    raise UnsafeError(
      f"{OPERATORS[code]} from types {inputs[:8]} to {outputs[:8]}"
    )


def _check_sizes(reader: Reader, code: int, inputs: list[Constant]) -> None:
  """Checks that constants which say how large an output is say little."""
  if code in _SIZES:
    sizes = _values(reader, inputs[_SIZES[code]])
    if sizes is not None and (
      min(sizes, default=0) < 0
      or math.prod(max(size, 1) for size in sizes) > _MAX_ASKED_ELEMENTS
    ):
      raise UnsafeError(f"{OPERATORS[code]} to {list(sizes)[:4]}")
  if code == _RANGE:
    # By steps of 1, the shortest.
    first = [_values(reader, one) for one in inputs[:2]]
    if all(value is not None and len(value) == 1 for value in first):
      start, limit = (value[0] for value in first if value)
      if abs(limit - start) > _MAX_ASKED_ELEMENTS:
        raise UnsafeError(f"RANGE from {start} to {limit}")


def _values(reader: Reader, constant: Constant) -> tuple[int, ...] | None:
  """Returns the integers of a constant; None: it is none, or of others."""
  start, size = constant.place
  code = _INTEGERS.get(constant.kind)
  if not size or code is None:
    return None
  count = size // struct.calcsize("<" + code)
  reader.spend(count)
  return struct.unpack_from(f"<{count}{code}", reader.contents, start)

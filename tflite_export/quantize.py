"""Puts trained integers into a float .tflite file.

ai-edge-quantizer rewrites the file by its `DEQUANTIZED_WEIGHT_RECOVERY`. That
guesses the scale from the least step between weights, which is wrong for a
channel that happens to use, say, only -6, 0 and 3 of its integers. The trained
grid is known here, so nothing is guessed: the function that finds integers and
scales is registered anew.

Matrices are computed with integers. Convolutions compute in float, with kernels
that are made float again when the file is loaded: they are 1% of the weights,
and integers there would round activations for no gain.

What goes into a matrix is rounded to 8 bits as well: by the range of each row,
which the kernel finds as it runs, or by a range that was measured on speech
beforehand (static). Then biases are integers of 32 bits, and the operations to
and from integers stand in the file.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing  # ai_edge_quantizer expects it to be loaded.
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import algorithm_manager, qtyping, quantizer
from ai_edge_quantizer.algorithms.uniform_quantize import (
  common_quantize,
  naive_min_max_quantize,
)
from ai_edge_quantizer.utils import qsv_utils

from lingvo_lite.quantization.grid import Grid, channel_axis
from lingvo_lite.stage.errors import InputError
from tflite_export.calibration import Calibration
from tflite_export.flatbuffer import (
  constants,
  integers_of,
  read_flatbuffer,
  write_flatbuffer,
)
from tflite_export.quiet import quiet_standard_error

_ALGORITHM = algorithm_manager.AlgorithmName.DEQUANTIZED_WEIGHT_RECOVERY
_NAMES = {
  schema.BuiltinOperator.FULLY_CONNECTED: (
    qtyping.TFLOperationName.FULLY_CONNECTED
  ),
  schema.BuiltinOperator.CONV_2D: qtyping.TFLOperationName.CONV_2D,
  schema.BuiltinOperator.DEPTHWISE_CONV_2D: (
    qtyping.TFLOperationName.DEPTHWISE_CONV_2D
  ),
}
_ACTIVATION_BITS = 8

# How far a weight may be from its grid, of one step: float32 rounding, after
# the converter folded constant factors (1/2 of a residual) into the scale.
_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class _FileKernel:
  """A grid in the axes of the file.

  Attributes:
    integers: int8.
    bits: of the container, 2, 4 or 8.
    axis: of the output channels.
  """

  integers: np.ndarray
  bits: int
  axis: int

  def scales(self, kernel: np.ndarray) -> np.ndarray:
    """Returns the scales of a float kernel on this grid.

    The converter may have folded a factor into the kernel: the scale is what
    makes its largest weight the largest integer.
    """
    axes = tuple(a for a in range(kernel.ndim) if a != self.axis)
    largest = np.abs(kernel).max(axes, keepdims=True)
    integer = np.abs(self.integers).max(axes, keepdims=True)
    scales = np.where(largest > 0, largest / np.maximum(integer, 1), 1.0)
    return scales.astype(np.float32)

  def holds(self, kernel: np.ndarray) -> bool:
    """Returns whether a float kernel lies on this grid."""
    if kernel.shape != self.integers.shape:
      return False
    steps = kernel / self.scales(kernel) - self.integers
    return bool(np.abs(steps).max() < _TOLERANCE)


def quantize(
  contents: bytes,
  grids: Sequence[Grid],
  calibration: Calibration | None = None,
) -> bytes:
  """Replaces float kernels by their integers.

  Args:
    contents: a float32 .tflite file.
    grids: of all kernels to replace, in the axes of Keras.
    calibration: calls of the file's signatures, that the static ranges of
      activations are taken from; left out: ranges are found as it runs.

  Returns:
    The .tflite file with the integers.

  Raises:
    InputError: a grid is not in the file, or what was written differs.
  """
  if not grids:
    return contents
  kernels = [_file_kernel(grid) for grid in grids]
  model = read_flatbuffer(contents)
  found = _name_outputs(model, kernels)
  worker = quantizer.Quantizer(bytearray(write_flatbuffer(model)))
  _register(kernels)
  for operation, bits in sorted(found):
    where, name = _prefix(bits), _NAMES[operation]
    if operation != schema.BuiltinOperator.FULLY_CONNECTED:
      worker.add_weight_only_config(where, name, bits, algorithm_key=_ALGORITHM)
    elif calibration is None:
      worker.add_dynamic_config(where, name, bits, algorithm_key=_ALGORITHM)
    else:
      worker.add_static_config(
        where, name, _ACTIVATION_BITS, bits, algorithm_key=_ALGORITHM
      )
  with quiet_standard_error():
    ranges = None
    if calibration is not None:
      ranges = worker.calibrate(calibration, num_threads=1)
    result = worker.quantize(ranges, enable_progress_report=False)
  written = bytes(result.quantized_model)
  check_integers(written, grids)
  return written


def check_integers(contents: bytes, grids: Sequence[Grid]) -> None:
  """Raises InputError unless the file holds exactly the grids' integers.

  Args:
    contents: a .tflite file.
    grids: of all its quantised kernels, in the axes of Keras.
  """

  def fingerprint(integers: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    return integers.shape, np.ascontiguousarray(integers).tobytes()

  found = {
    fingerprint(values[1])
    for tensor, data in constants(read_flatbuffer(contents))
    if (values := integers_of(tensor, data)) is not None
  }
  trained = {fingerprint(_file_kernel(grid).integers) for grid in grids}
  if found != trained:
    raise InputError(
      f"found {len(found & trained)} of {len(trained)} kernels of trained"
      f" integers among {len(found)} in the .tflite file, expected exactly"
      " those: this is a fault of the exporter, please report it"
    )


def _file_kernel(grid: Grid) -> _FileKernel:
  """Puts a grid into the axes of a .tflite file."""
  rank = grid.integers.ndim
  # Output channels come first in a file, but last for a depthwise convolution.
  integers = np.moveaxis(grid.integers, channel_axis(rank), 0)
  axis = 0
  if rank == 3:
    integers, axis = integers[..., 0].T[np.newaxis, np.newaxis], 3
  bits = next(width for width in (2, 4, 8) if width >= grid.bits)
  return _FileKernel(np.ascontiguousarray(integers), bits, axis)


def _name_outputs(
  model: schema.ModelT, kernels: Sequence[_FileKernel]
) -> set[tuple[int, int]]:
  """Names the outputs of the operations to quantise after their bits.

  Returns:
    The `(operation, bits)` that there are.
  """
  matched: set[int] = set()
  found = set()
  for subgraph in model.subgraphs:
    for operator in subgraph.operators:
      operation = model.operatorCodes[operator.opcodeIndex].builtinCode
      if operation not in _NAMES:
        continue
      weights = subgraph.tensors[operator.inputs[1]]
      data = model.buffers[weights.buffer].data
      if data is None or weights.type != schema.TensorType.FLOAT32:
        continue
      values = np.asarray(data, np.uint8).view(np.float32)
      index = _match(values.reshape(weights.shape), kernels)
      if index is None:
        continue
      matched.add(index)
      bits = kernels[index].bits
      output = subgraph.tensors[operator.outputs[0]]
      output.name = _prefix(bits).encode() + output.name
      found.add((operation, bits))
  missing = set(range(len(kernels))) - matched
  if missing:
    shape = list(kernels[min(missing)].integers.shape)
    raise InputError(
      f"found {len(missing)} of {len(kernels)} trained kernels missing in the"
      f" converted file (one is {shape}), expected all: this is a fault of the"
      " exporter, please report it"
    )
  return found


def _prefix(bits: int) -> str:
  return f"grid{bits}_"


def _match(kernel: np.ndarray, kernels: Sequence[_FileKernel]) -> int | None:
  """Returns which of `kernels` a float kernel of the file is."""
  for index, candidate in enumerate(kernels):
    if candidate.holds(kernel):
      return index
  return None


def _register(kernels: Sequence[_FileKernel]) -> None:
  """Tells ai-edge-quantizer to write these integers."""

  def quant_params(op_info, tensor_quant_config, tensor_content, tensor_qsv):
    if tensor_content is None:
      return naive_min_max_quantize.get_tensor_quant_params(
        op_info, tensor_quant_config, tensor_content, tensor_qsv
      )
    kernel = kernels[_match(tensor_content, kernels)]
    scales = kernel.scales(tensor_content)
    return qtyping.UniformQuantParams(
      scale=scales,
      zero_point=np.zeros_like(scales, np.int32),
      num_bits=tensor_quant_config.num_bits,
      symmetric=True,
      quantized_dimension=kernel.axis,
      quantized_data=kernel.integers,
    )

  for name in _NAMES.values():
    algorithm_manager.register_quantized_op(
      _ALGORITHM,
      name,
      init_qsv_func=naive_min_max_quantize.init_qsvs,
      calibration_func=naive_min_max_quantize.min_max_calibrate,
      materialize_func=functools.partial(
        common_quantize.materialize_fc_conv, quant_params
      ),
      # The whole range of all calls: its default, a moving average, cuts off
      # what only some chunks of a stream reach.
      update_qsv_func=qsv_utils.min_max_update,
    )

"""Makes one .tflite file of all levels: a graph a level, constants shared.

The float model is converted once. Each level gets a copy of its graph in which
the matrices are int8: those of sparse layers without the blocks that the level
drops, the others dense. All that is the same in two levels is in the file once:
biases, norms, convolutions, the front end, dense matrices.

Dense and block-sparse matrices must not share an operator code. LiteRT 2.3's
XNNPACK delegate leaves a fully connected operation alone only if its code has
version 8, that of sparse weights; with any other it reads the packed blocks as
if they were the dense matrix, and computes nonsense in silence. A file has
usually one code an operator, of the highest version that any use needs: so it
comes that dense int8 (version 9 and above) beside sparse int8 gives wrong
numbers. Two codes give right ones; parity is checked all the same.

The converter adds the offset of a norm into the bias of the matrix behind it,
through all of its weights. A level that drops some needs a bias of its own:
`_level_bias`.
"""

import copy
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from lingvo_lite.dynamic_sparsity.dynamic_model import DynamicModel
from lingvo_lite.stage.errors import InputError
from tflite_export.dynamic_sparsity.block_sparse import check_block, encode
from tflite_export.interpreter import SIGNATURE

_FULLY_CONNECTED = schema.BuiltinOperator.FULLY_CONNECTED
_SPARSE_VERSION = 8
# The first with a scale for each output channel of float operations.
_DENSE_VERSION = 12
_LARGEST = 127
_TOLERANCE = 1e-5


def expand_levels(
  base: schema.ModelT, dynamic: DynamicModel, signatures: Mapping[str, float]
) -> schema.ModelT:
  """Returns a model with one graph and one signature a level.

  Args:
    base: the float model of all weights, with the signature `transcribe`
      alone; left as it is.
    dynamic: the same model in Keras, and what levels keep.
    signatures: what to call the signature of each sparsity.

  Raises:
    InputError: a matrix of the Keras model is not in the file, or is too wide.
  """
  check_block(dynamic.levels.block)
  model = copy.copy(base)
  model.buffers = list(base.buffers)
  model.operatorCodes = list(base.operatorCodes)
  model.subgraphs, model.signatureDefs = [], []
  codes = {
    version: _operator_code(model, version)
    for version in (_SPARSE_VERSION, _DENSE_VERSION)
  }
  graph, signature = base.subgraphs[0], base.signatureDefs[0]
  if len(base.subgraphs) != 1 or signature.signatureKey != SIGNATURE.encode():
    raise InputError(
      f"found {len(base.subgraphs)} graphs in the converted file, expected that"
      f" of {SIGNATURE!r} alone: levels of a streaming model are not supported"
    )
  layers = _find_layers(base, dynamic)
  written: dict[tuple[str, bytes], schema.TensorT] = {}
  biases: dict[tuple[str, bytes], schema.TensorT] = {}
  for name, sparsity in signatures.items():
    level = copy.copy(graph)
    level.tensors = list(graph.tensors)
    level.operators = list(graph.operators)
    for at, layer in layers.items():
      operator = copy.copy(graph.operators[at])
      place = operator.inputs[1]
      old = graph.tensors[place]
      kernel = _kernel(base, old)
      is_sparse = sparsity > 0 and layer in dynamic.kept_levels
      if is_sparse:
        kept = dynamic.kept(layer, sparsity).T
        kernel = kernel * np.repeat(kept, dynamic.levels.block, axis=1)
      key = (layer, b"" if not is_sparse else np.packbits(kept).tobytes())
      if key not in written:
        written[key] = _integer_tensor(model, old, kernel, layer, is_sparse)
        if is_sparse:
          bias = _level_bias(
            base, operator, graph, dynamic.model, layer, kernel
          )
          if bias is not None:
            biases[key] = _float_tensor(
              model, graph.tensors[operator.inputs[2]], bias
            )
      level.tensors[place] = written[key]
      if key in biases:
        level.tensors[operator.inputs[2]] = biases[key]
      operator.opcodeIndex = codes[
        _SPARSE_VERSION if is_sparse else _DENSE_VERSION
      ]
      operator.builtinOptions = copy.copy(operator.builtinOptions)
      operator.builtinOptions.asymmetricQuantizeInputs = True
      level.operators[at] = operator
    entry = copy.copy(signature)
    entry.signatureKey = name.encode()
    entry.subgraphIndex = len(model.subgraphs)
    model.subgraphs.append(level)
    model.signatureDefs.append(entry)
  _drop_unused(model)
  return model


def _operator_code(model: schema.ModelT, version: int) -> int:
  """Adds a code of fully connected operations and returns its index."""
  code = copy.copy(
    next(
      code
      for code in model.operatorCodes
      if code.builtinCode == _FULLY_CONNECTED
    )
  )
  code.version = version
  model.operatorCodes.append(code)
  return len(model.operatorCodes) - 1


def _find_layers(base: schema.ModelT, dynamic: DynamicModel) -> dict[int, str]:
  """Returns which operation of the file is which layer.

  The converter may have folded a factor into a matrix, so matrices are compared
  as multiples of their largest weight.
  """
  kernels = {
    name: _normal(dynamic.model.get_layer(name).kernel.numpy().T)
    for name in (*dynamic.kept_levels, *dynamic.dense_layers)
  }
  graph = base.subgraphs[0]
  found: dict[int, str] = {}
  for at, operator in enumerate(graph.operators):
    code = base.operatorCodes[operator.opcodeIndex].builtinCode
    if code != _FULLY_CONNECTED:
      continue
    tensor = graph.tensors[operator.inputs[1]]
    data = base.buffers[tensor.buffer].data
    if data is None or tensor.type != schema.TensorType.FLOAT32:
      continue
    kernel = _normal(_kernel(base, tensor))
    for name, expected in kernels.items():
      if kernel.shape == expected.shape and np.allclose(
        kernel, expected, rtol=0, atol=_TOLERANCE
      ):
        found[at] = name
  missing = set(kernels) - set(found.values())
  if missing:
    raise InputError(
      f"found {len(missing)} of {len(kernels)} matrices missing in the"
      f" converted file (one is {min(missing)}), expected all: this is a fault"
      " of the exporter, please report it"
    )
  return found


def _integer_tensor(
  model: schema.ModelT,
  old: schema.TensorT,
  kernel: np.ndarray,
  layer: str,
  is_sparse: bool,
) -> schema.TensorT:
  """Adds a matrix as integers and returns its tensor.

  The sparse kernel knows one scale a matrix, the dense one an output channel.
  """
  tensor = copy.copy(old)
  largest = np.abs(kernel).max(None if is_sparse else 1, keepdims=True)
  scales = np.where(largest > 0, largest / _LARGEST, 1.0).astype(np.float32)
  integers = np.rint(kernel / scales).astype(np.int8)
  quantization = schema.QuantizationParametersT()
  quantization.scale = scales.reshape(-1)
  quantization.zeroPoint = np.zeros(scales.size, np.int64)
  quantization.quantizedDimension = 0
  tensor.type = schema.TensorType.INT8
  tensor.quantization = quantization
  buffer = schema.BufferT()
  buffer.data = np.ascontiguousarray(integers).reshape(-1).view(np.uint8)
  if is_sparse:
    buffer.data, tensor.sparsity = encode(integers, layer)
  tensor.buffer = len(model.buffers)
  model.buffers.append(buffer)
  return tensor


def _level_bias(
  base: schema.ModelT,
  operator: schema.OperatorT,
  graph: schema.SubGraphT,
  keras: tf.keras.Model,
  layer: str,
  kept: np.ndarray,
) -> np.ndarray | None:
  """Returns the bias of a level; None: the file's is right for all levels.

  The file has `bias + W offset` where Keras has a norm with that offset in
  front of the layer; what the level drops of W is taken out of it again.

  Args:
    base: the converted file.
    operator: the fully connected operation.
    graph: its graph.
    keras: the model that was converted.
    layer: the name of the layer there.
    kept: float32[outputs, inputs], the file's matrix without what the level
      drops.

  Raises:
    InputError: the file has neither the bias of Keras nor that sum.
  """
  if len(operator.inputs) < 3 or operator.inputs[2] < 0:
    return None
  found = _vector(base, graph.tensors[operator.inputs[2]])
  whole = _kernel(base, graph.tensors[operator.inputs[1]])
  dense = keras.get_layer(layer)
  own = dense.kernel.numpy().T
  largest = np.unravel_index(np.abs(own).argmax(), own.shape)
  factor = whole[largest] / own[largest]
  plain = (
    factor * dense.bias.numpy() if dense.use_bias else np.zeros_like(found)
  )
  if np.allclose(found, plain, rtol=0, atol=_TOLERANCE):
    return None
  norm = dense.input._keras_history.layer
  offset = norm.beta.numpy() if hasattr(norm, "beta") else 0.0 * whole[0]
  if not np.allclose(found, plain + whole @ offset, rtol=1e-4, atol=1e-4):
    raise InputError(
      f"found a bias of {layer} in the converted file that is neither Keras's"
      " nor with the norm in front of it added, expected one of them: this is a"
      " fault of the exporter, please report it"
    )
  return found - (whole - kept) @ offset


def _float_tensor(
  model: schema.ModelT, old: schema.TensorT, values: np.ndarray
) -> schema.TensorT:
  """Adds a constant of floats and returns its tensor."""
  tensor = copy.copy(old)
  buffer = schema.BufferT()
  buffer.data = values.astype(np.float32).view(np.uint8)
  tensor.buffer = len(model.buffers)
  model.buffers.append(buffer)
  return tensor


def _drop_unused(model: schema.ModelT) -> None:
  """Empties the buffers that no tensor refers to."""
  used = {
    tensor.buffer for graph in model.subgraphs for tensor in graph.tensors
  }
  model.buffers = [
    buffer if index in used else schema.BufferT()
    for index, buffer in enumerate(model.buffers)
  ]


def _vector(model: schema.ModelT, tensor: schema.TensorT) -> np.ndarray:
  """Returns float32[outputs]."""
  data = np.asarray(model.buffers[tensor.buffer].data, np.uint8)
  return data.view(np.float32)


def _kernel(model: schema.ModelT, tensor: schema.TensorT) -> np.ndarray:
  """Returns float32[outputs, inputs]."""
  data = np.asarray(model.buffers[tensor.buffer].data, np.uint8)
  return data.view(np.float32).reshape(tensor.shape)


def _normal(kernel: np.ndarray) -> np.ndarray:
  """Returns a matrix with a largest weight of 1; its sign stays."""
  return kernel / max(np.abs(kernel).max(), 1e-30)

"""The signatures of a streaming .tflite file that need no graph of Keras's."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_export.signature_names import FLUSH, INIT_STATE, STATE, STREAM


def add_stream_ends(model: schema.ModelT) -> None:
  """Adds, in place, the beginning and the end of a stream.

  `init_state` returns the state of a new stream: zeros, made by one operation
  where the converter would write them all into the file. `flush` takes the last
  chunk: it is `stream` by another name and shares its graph, so that it costs
  nothing.

  Args:
    model: what `read_flatbuffer` returned. Without the signature `stream`,
      nothing is done.
  """
  stream = next(
    (s for s in model.signatureDefs if s.signatureKey == STREAM.encode()), None
  )
  if stream is None:
    return
  index = next(
    one.tensorIndex for one in stream.inputs if one.name == STATE.encode()
  )
  state = model.subgraphs[stream.subgraphIndex].tensors[index]
  model.subgraphs.append(_zeros(model, np.asarray(state.shape, np.int32)))
  model.signatureDefs = [
    *model.signatureDefs,
    _signature(FLUSH, stream.inputs, stream.outputs, stream.subgraphIndex),
    _signature(
      INIT_STATE, [], [_tensor_map(STATE, 2)], len(model.subgraphs) - 1
    ),
  ]


def _zeros(model: schema.ModelT, shape: np.ndarray) -> schema.SubGraphT:
  """A graph without inputs whose one output is zeros of a static shape."""
  code = schema.OperatorCodeT()
  code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FILL
  code.version = 1
  model.operatorCodes.append(code)
  fill = schema.OperatorT()
  fill.opcodeIndex = len(model.operatorCodes) - 1
  fill.inputs, fill.outputs = np.array([0, 1]), np.array([2])
  fill.inputs = fill.inputs.astype(np.int32)
  fill.outputs = fill.outputs.astype(np.int32)
  fill.builtinOptionsType = schema.BuiltinOptions.FillOptions
  fill.builtinOptions = schema.FillOptionsT()
  graph = schema.SubGraphT()
  graph.tensors = [
    _tensor(model, schema.TensorType.INT32, [shape.size], shape),
    _tensor(model, schema.TensorType.FLOAT32, [], np.zeros(1, np.float32)),
    _tensor(model, schema.TensorType.FLOAT32, shape, None),
  ]
  graph.inputs = np.zeros(0, np.int32)
  graph.outputs = np.array([2], np.int32)
  graph.operators = [fill]
  return graph


def _tensor(model, kind, shape, contents) -> schema.TensorT:
  tensor = schema.TensorT()
  tensor.type = kind
  tensor.shape = np.array(shape, np.int32)
  tensor.name = b"%d" % len(model.buffers)
  tensor.buffer = 0
  if contents is not None:
    buffer = schema.BufferT()
    buffer.data = contents.view(np.uint8)
    tensor.buffer = len(model.buffers)
    model.buffers.append(buffer)
  return tensor


def _signature(name, inputs, outputs, graph) -> schema.SignatureDefT:
  signature = schema.SignatureDefT()
  signature.signatureKey = name.encode()
  signature.inputs, signature.outputs = inputs, outputs
  signature.subgraphIndex = graph
  return signature


def _tensor_map(name: str, index: int) -> schema.TensorMapT:
  entry = schema.TensorMapT()
  entry.name = name.encode()
  entry.tensorIndex = index
  return entry

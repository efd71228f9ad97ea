"""What LiteRT makes of the grids that no recipe offers.

Blocks of inputs with scales of their own, zero points and static activations:
ai-edge-quantizer puts each into the float32 file, with its own rounding, and it
is run beside the grid that recipes have. So a release of LiteRT that runs one
of them well will show it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing  # ai_edge_quantizer expects it to be loaded.
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import qtyping, quantizer

from lingvo_lite.stage.errors import InputError
from tflite_export.flatbuffer import (
  integers_of,
  read_flatbuffer,
  write_flatbuffer,
)
from tflite_export.interpreter import (
  INPUTS,
  OUTPUTS,
  SIGNATURE,
  load_interpreter,
  signature_runner,
)
from tflite_export.quiet import quiet_standard_error
from tflite_export.transport_reader import pack_fields

BASELINE = "float32"
_FULLY_CONNECTED = qtyping.TFLOperationName.FULLY_CONNECTED
_CHANNELS = qtyping.QuantGranularity.CHANNELWISE
_BLOCKS_OF_128 = qtyping.QuantGranularity.BLOCKWISE_128
_BLOCKS_OF_32 = qtyping.QuantGranularity.BLOCKWISE_32
_PREFIX = "matrix_"
_TURNS = 20

Run = Callable[[np.ndarray], np.ndarray]


def grid_rows(
  path: str, model: tf.keras.Model, speech: Sequence[np.ndarray]
) -> list[dict[str, Any]]:
  """Returns a row a grid.

  Args:
    path: of the float32 .tflite file.
    model: that it was made from.
    speech: float32[S] each, 16 kHz; static ranges are taken from it as well.

  Returns:
    `{"kind", "grid", "refusal", "relative_error", "latency_of_float32"}`;
    `refusal` is what LiteRT says that does not load the file, or None, and then
    the error is that of the logits, of the spread of float32's.
  """
  with open(path, "rb") as file:
    contents = _named_matrices(file.read(), model)
  runs: dict[str, Run] = {}
  refusals: dict[str, str] = {}
  for name, candidate in _candidates(contents, speech):
    try:
      run = _runner(candidate)
      # Some it refuses when it knows how long the sound is.
      run(speech[0])
      runs[name] = run
    except (InputError, RuntimeError) as error:
      refusals[name] = _reason(error)
  logits = {
    name: np.concatenate([run(pcm) for pcm in speech], axis=1)
    for name, run in runs.items()
  }
  times = _times(runs, max(speech, key=len))
  rows = []
  for name in [*runs, *refusals]:
    row: dict[str, Any] = {
      "kind": "grid",
      "grid": name,
      "refusal": refusals.get(name),
    }
    if name in runs:
      difference = logits[name] - logits[BASELINE]
      relative = np.sqrt(np.mean(difference**2)) / logits[BASELINE].std()
      row["relative_error"] = round(float(relative), 4)
      ratio = np.median(times[name] / times[BASELINE])
      row["latency_of_float32"] = round(float(ratio), 3)
    rows.append(row)
  return rows


def _candidates(
  contents: bytes, speech: Sequence[np.ndarray]
) -> Iterator[tuple[str, bytes]]:
  """Yields names and files, float32's first."""
  yield BASELINE, contents
  for bits in (4, 2):
    by_channel = _dynamic(contents, bits, _CHANNELS)
    yield f"int{bits}, a scale a channel", by_channel
    yield f"int{bits}, zero points", _shifted(by_channel)
  yield "int4, blocks of 128", _dynamic(contents, 4, _BLOCKS_OF_128)
  yield "int4, blocks of 32", _dynamic(contents, 4, _BLOCKS_OF_32)
  yield "int2, blocks of 32", _dynamic(contents, 2, _BLOCKS_OF_32)
  yield "int8, a scale a channel", _dynamic(contents, 8, _CHANNELS)
  for bits in (8, 4):
    yield f"int{bits}, static activations", _static(contents, bits, speech)


def _named_matrices(contents: bytes, model: tf.keras.Model) -> bytes:
  """Marks the model's matrices; those of the front end stay as they are."""
  shapes = {
    tuple(layer.kernel.shape)[::-1]
    for layer in model.layers
    if isinstance(layer, tf.keras.layers.Dense)
  }
  parsed = read_flatbuffer(contents)
  for graph, operator in _matrices(parsed):
    if tuple(graph.tensors[operator.inputs[1]].shape) in shapes:
      output = graph.tensors[operator.outputs[0]]
      output.name = _PREFIX.encode() + output.name
  return write_flatbuffer(parsed)


def _matrices(
  parsed: schema.ModelT,
) -> Iterator[tuple[schema.SubGraphT, schema.OperatorT]]:
  for graph in parsed.subgraphs:
    for operator in graph.operators:
      code = parsed.operatorCodes[operator.opcodeIndex].builtinCode
      if code == schema.BuiltinOperator.FULLY_CONNECTED:
        yield graph, operator


def _dynamic(
  contents: bytes, bits: int, granularity: qtyping.QuantGranularity
) -> bytes:
  worker = quantizer.Quantizer(bytearray(contents))
  worker.add_dynamic_config(
    _PREFIX, _FULLY_CONNECTED, bits, granularity=granularity
  )
  return _quantized(worker, None)


def _static(contents: bytes, bits: int, speech: Sequence[np.ndarray]) -> bytes:
  worker = quantizer.Quantizer(bytearray(contents))
  worker.add_static_config(_PREFIX, _FULLY_CONNECTED, 8, bits)
  with quiet_standard_error():
    ranges = worker.calibrate(
      {SIGNATURE: [{"pcm": pcm[np.newaxis]} for pcm in speech]}, num_threads=1
    )
  return _quantized(worker, ranges)


def _quantized(worker: quantizer.Quantizer, ranges: Any) -> bytes:
  with quiet_standard_error():
    result = worker.quantize(ranges, enable_progress_report=False)
  return bytes(result.quantized_model)


def _shifted(contents: bytes) -> bytes:
  """Writes the same weights with integers and zero points larger by one."""
  parsed = read_flatbuffer(contents)
  for graph, operator in _matrices(parsed):
    tensor = graph.tensors[operator.inputs[1]]
    buffer = parsed.buffers[tensor.buffer]
    found = integers_of(tensor, np.asarray(buffer.data, np.uint8))
    if found is None:
      continue
    bits, integers = found
    integers = np.minimum(integers + 1, 2 ** (bits - 1) - 1)
    fields = integers.reshape(-1).astype(np.uint8) & (2**bits - 1)
    buffer.data = pack_fields(fields, bits)
    tensor.quantization.zeroPoint = np.ones_like(tensor.quantization.zeroPoint)
  return write_flatbuffer(parsed)


def _runner(contents: bytes) -> Run:
  loaded = load_interpreter(contents, num_threads=1)
  runner = signature_runner(loaded, SIGNATURE, INPUTS, OUTPUTS)
  return lambda pcm: runner(pcm=pcm[np.newaxis])["logits"]


def _reason(error: Exception) -> str:
  """Returns the first thing that LiteRT says."""
  cause = error.__cause__ if isinstance(error, InputError) else error
  said = str(cause).strip().splitlines()[0]
  return said.split(" in XNNPACK delegate")[0]


def _times(runs: dict[str, Run], pcm: np.ndarray) -> dict[str, np.ndarray]:
  """Returns seconds a turn, float64[turns], all files in each turn."""
  times: dict[str, list[float]] = {name: [] for name in runs}
  for run in runs.values():
    run(pcm)
  for _ in range(_TURNS):
    for name, run in runs.items():
      started = time.perf_counter()
      run(pcm)
      times[name].append(time.perf_counter() - started)
  return {name: np.array(each) for name, each in times.items()}

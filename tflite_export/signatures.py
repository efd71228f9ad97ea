"""What the signatures of a .tflite file take and return."""

from typing import Any

from ai_edge_litert import schema_py_generated as schema

from lingvo_lite.stage.errors import InputError
from tflite_export.signature_names import FLUSH, INIT_STATE, STREAM

_TYPES = {
  schema.TensorType.FLOAT32: "float32",
  schema.TensorType.INT32: "int32",
}
_STEP = (
  {"pcm": "float32", "samples": "int32", "state": "float32"},
  {
    "count": "int32",
    "frames": "int32",
    "labels": "int32",
    "logits": "float32",
    "state": "float32",
  },
)
_EXPECTED = {
  "transcribe": (
    {"pcm": "float32"},
    {"count": "int32", "labels": "int32", "logits": "float32"},
  ),
  STREAM: _STEP,
  FLUSH: _STEP,
  INIT_STATE: ({}, {"state": "float32"}),
}

Signatures = dict[str, dict[str, dict[str, dict[str, Any]]]]


def read_signatures(model: schema.ModelT) -> Signatures:
  """Lists a file's signatures.

  Args:
    model: what `read_flatbuffer` returned.

  Returns:
    `{name: {"inputs": {name: {"type", "shape"}}, "outputs": {..}}}`; -1 in a
    shape stands for a size that differs from call to call.
  """
  found: Signatures = {}
  for signature in model.signatureDefs or []:
    tensors = model.subgraphs[signature.subgraphIndex].tensors
    sides = {}
    for side, entries in (
      ("inputs", signature.inputs),
      ("outputs", signature.outputs),
    ):
      sides[side] = {
        _text(entry.name): _describe(tensors[entry.tensorIndex])
        for entry in entries or []
      }
    found[_text(signature.signatureKey)] = sides
  return found


def check_signatures(
  signatures: Signatures, vocabulary_size: int
) -> int | None:
  """Checks that a runtime of this project can call a file.

  Args:
    signatures: what `read_signatures` returned.
    vocabulary_size: V, the blank included.

  Returns:
    Samples of a chunk; None: the model does not stream.

  Raises:
    InputError: a signature is missing, unknown, or takes or returns something
      else.
  """
  streams = STREAM in signatures
  expected = _EXPECTED if streams else {"transcribe": _EXPECTED["transcribe"]}
  kinds = {
    name: tuple(
      {key: tensor["type"] for key, tensor in sides[side].items()}
      for side in ("inputs", "outputs")
    )
    for name, sides in signatures.items()
  }
  if kinds != expected:
    raise InputError(
      f"found the signatures {sorted(kinds)} with other inputs or outputs than"
      f" this release calls, expected {sorted(expected)}: export the model"
      " again"
    )
  if not streams:
    return None
  inputs = signatures[STREAM]["inputs"]
  outputs = signatures[STREAM]["outputs"]
  samples = _at(inputs["pcm"], 1)
  frames = _at(outputs["labels"], 0)
  state = inputs["state"]["shape"]
  shapes = [
    inputs["pcm"]["shape"] == [1, samples],
    inputs["samples"]["shape"] == [1],
    outputs["count"]["shape"] == [1],
    outputs["frames"]["shape"] == [frames],
    outputs["logits"]["shape"] == [1, frames, vocabulary_size],
    len(state) == 2 and state[0] == 1 and state[1] > 0,
    outputs["state"]["shape"] == state,
    signatures[INIT_STATE]["outputs"]["state"]["shape"] == state,
    signatures[FLUSH] == signatures[STREAM],
    frames > 0 and samples == 640 * frames,
  ]
  if not all(shapes):
    raise InputError(
      f"found a stream of {samples} samples and {frames} frames a chunk whose"
      " shapes do not fit each other, expected 640 samples a frame: export the"
      " model again"
    )
  return samples


def _at(tensor: dict[str, Any], axis: int) -> int:
  shape = tensor["shape"]
  return shape[axis] if len(shape) > axis else 0


def _describe(tensor: schema.TensorT) -> dict[str, Any]:
  shape = tensor.shape
  if tensor.shapeSignature is not None:
    shape = tensor.shapeSignature
  return {
    "type": _TYPES.get(tensor.type, "another"),
    "shape": [] if shape is None else [int(size) for size in shape],
  }


def _text(name: bytes | None) -> str:
  return (name or b"").decode("utf-8", "replace")

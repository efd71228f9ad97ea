"""Takes one level out of a .tflite file of several. Needs no TensorFlow.

A runtime prepares all graphs of the file it loads, which costs memory for each.
Loading only the level in use costs what a file of that level alone would.
"""

import mmap

from ai_edge_litert import schema_py_generated as schema

from lingvo_lite.stage.errors import InputError
from tflite_export.flatbuffer import write_flatbuffer


def extract_level(contents: bytes | mmap.mmap, signature: str) -> bytes:
  """Returns a file with the graph of one signature alone, without metadata.

  Args:
    contents: a checked file, its buffers inside the flatbuffer.
    signature: the one to keep.

  Raises:
    InputError: the file has no such signature.
  """
  whole = schema.Model.GetRootAs(contents, 0)
  found = {
    whole.SignatureDefs(index).SignatureKey(): whole.SignatureDefs(index)
    for index in range(whole.SignatureDefsLength())
  }
  entry = found.get(signature.encode())
  if entry is None:
    names = sorted(name.decode() for name in found)
    raise InputError(
      f"found the signatures {names}, expected {signature!r}: export the model"
      " again"
    )
  model = schema.ModelT()
  model.version = whole.Version()
  model.operatorCodes = [
    schema.OperatorCodeT.InitFromObj(whole.OperatorCodes(index))
    for index in range(whole.OperatorCodesLength())
  ]
  graph = schema.SubGraphT.InitFromObj(whole.Subgraphs(entry.SubgraphIndex()))
  kept = schema.SignatureDefT.InitFromObj(entry)
  kept.subgraphIndex = 0
  # The first buffer is empty and stands for tensors without contents.
  places = {0: 0}
  for tensor in graph.tensors:
    tensor.buffer = places.setdefault(tensor.buffer, len(places))
  model.buffers = [
    schema.BufferT.InitFromObj(whole.Buffers(place)) for place in places
  ]
  model.subgraphs, model.signatureDefs = [graph], [kept]
  return write_flatbuffer(model)

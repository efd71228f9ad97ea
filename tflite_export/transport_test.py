"""The transport form: the same bytes back, whatever the pattern and bits."""

import json
import os
import zipfile

import numpy as np
from absl.testing import absltest, parameterized
from ai_edge_litert import schema_py_generated as schema

from lingvo_lite.stage.errors import InputError
from tflite_export.flatbuffer import write_flatbuffer
from tflite_export.fuzzing import fuzz_transports
from tflite_export.pruning.mask_schedule import keep_largest
from tflite_export.transport import write_transport
from tflite_export.transport_reader import (
  pack_fields,
  patterns,
  patterns_per_byte,
  read_transport,
  unpack_fields,
)

_TYPES = {
  2: schema.TensorType.INT2,
  4: schema.TensorType.INT4,
  8: schema.TensorType.INT8,
}


def _file(kernels, floats):
  """A flatbuffer that holds `(bits, integers)` kernels and a float vector."""
  model = schema.ModelT()
  model.version = 3
  model.buffers = [schema.BufferT()]
  graph = schema.SubGraphT()
  graph.tensors, graph.operators = [], []
  model.subgraphs = [graph]

  def add(shape, kind, data, scales=None):
    tensor = schema.TensorT()
    tensor.name = f"t{len(graph.tensors)}".encode()
    tensor.shape = np.array(shape, np.int32)
    tensor.type = kind
    tensor.buffer = len(model.buffers)
    if scales is not None:
      tensor.quantization = schema.QuantizationParametersT()
      tensor.quantization.scale = scales
    buffer = schema.BufferT()
    buffer.data = data
    model.buffers.append(buffer)
    graph.tensors.append(tensor)

  for bits, integers in kernels:
    fields = (integers.reshape(-1) & (2**bits - 1)).astype(np.uint8)
    scales = np.linspace(0.1, 1, len(integers), dtype=np.float32)
    add(integers.shape, _TYPES[bits], pack_fields(fields, bits), scales)
  add(floats.shape, schema.TensorType.FLOAT32, floats.view(np.uint8))
  return write_flatbuffer(model)


def _kernel(bits, kept_of, shape=(24, 48), seed=0):
  rng = np.random.default_rng(seed)
  limit = 2 ** (bits - 1) - 1
  integers = rng.integers(-limit, limit + 1, shape).astype(np.int8)
  if kept_of is None:
    return integers
  ranks = rng.uniform(size=shape).astype(np.float32)
  return integers * keep_largest(ranks.T, kept_of).numpy().T.astype(np.int8)


class TransportTest(parameterized.TestCase):
  def write(self, contents, kept_of):
    path = os.path.join(self.create_tempdir().full_path, "m.tflite.zip")
    return path, write_transport(contents, kept_of, path)

  @parameterized.product(
    bits=(2, 4, 8),
    kept_of=(None, (1, 2), (2, 4), (1, 4), (4, 8), (3, 16), (15, 16), (1, 48)),
  )
  def test_the_same_bytes_come_back(self, bits, kept_of):
    floats = np.random.default_rng(1).normal(size=200).astype(np.float32)
    kernels = [
      (bits, _kernel(bits, kept_of)),
      (8, _kernel(8, None, seed=1)),
      (bits, _kernel(bits, kept_of, (10, 48), seed=2)),
    ]
    contents = _file(kernels, floats)
    path, size = self.write(contents, kept_of)
    self.assertEqual(read_transport(path), contents)
    self.assertEqual(os.path.getsize(path), size)
    with zipfile.ZipFile(path) as archive:
      self.assertIsNone(archive.testzip())

  def test_sparse_weights_cost_what_they_say(self):
    # 2:4 of uniform 4-bit integers: half of log2(15) and a quarter of log2(6)
    # bits a weight are 2.6; the bytes hold 4.
    shape = (256, 512)
    contents = _file([(4, _kernel(4, (2, 4), shape))], np.zeros(1, np.float32))
    _, size = self.write(contents, (2, 4))
    bits = 8 * size / np.prod(shape)
    self.assertBetween(bits, 2.6, 2.9)
    _, dense_size = self.write(contents, None)
    self.assertLess(size, 0.95 * dense_size)

  def test_a_kernel_without_the_pattern_is_stored_as_it_is(self):
    kernels = [(4, _kernel(4, None)), (4, _kernel(4, (2, 4), (64, 64)))]
    contents = _file(kernels, np.zeros(1, np.float32))
    path, _ = self.write(contents, (2, 4))
    self.assertEqual(read_transport(path), contents)
    with zipfile.ZipFile(path) as archive:
      layout = json.loads(archive.read("layout.json"))
    kinds = [piece[0] for piece in layout["pieces"]]
    self.assertCountEqual(kinds, ["values", "kept", "floats", "floats"])

  def test_patterns_by_hand(self):
    self.assertEqual(
      patterns((2, 4)).tolist(),
      [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]],
    )
    self.assertEqual([patterns_per_byte(n) for n in (4, 6, 70)], [4, 3, 1])
    fields = np.array([1, 2, 3, 0, 3], np.uint8)
    self.assertEqual(pack_fields(fields, 2).tolist(), [0b00111001, 0b11])
    self.assertEqual(
      unpack_fields(pack_fields(fields, 2), 2)[:5].tolist(), fields.tolist()
    )

  def test_damage_is_told_in_one_line(self):
    contents = _file([(4, _kernel(4, (2, 4)))], np.zeros(64, np.float32))
    path, _ = self.write(contents, (2, 4))
    with open(path, "rb") as file:
      whole = file.read()
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 1
    for damaged in (b"", whole[: len(whole) // 2], bytes(flipped)):
      with open(path, "wb") as file:
        file.write(damaged)
      with self.assertRaisesRegex(InputError, "export it again"):
        read_transport(path)
    with zipfile.ZipFile(path, "w") as archive:
      archive.writestr("layout.json", json.dumps({"format": "other"}))
    with self.assertRaisesRegex(InputError, "the format 'other'"):
      read_transport(path)
    with self.assertRaisesRegex(InputError, "export it again"):
      read_transport(path + ".missing")

  def test_what_asks_without_a_bound_is_told(self):
    contents = _file([(4, _kernel(4, (2, 4)))], np.zeros(64, np.float32))
    path, _ = self.write(contents, (2, 4))
    with zipfile.ZipFile(path) as archive:
      members = {name: archive.read(name) for name in archive.namelist()}
    layout = json.loads(members["layout.json"])
    piece = layout["pieces"][0]
    for change in (
      {"bytes": 2**40},
      {"bytes": 10**9},
      {"bytes": -1},
      {"bytes": 1e3},
      {"kept_of": [4, 4]},
      {"kept_of": [0, 4]},
      {"kept_of": [30, 60]},
      {"kept_of": None},
      {"pieces": [["values", 0, *piece[2:]]]},
      {"pieces": [["values", 3, *piece[2:]]]},
      {"pieces": [["kept", 4, -8, 8]]},
      {"pieces": [piece, piece]},
    ):
      members["layout.json"] = json.dumps({**layout, **change}).encode()
      self.assert_damaged(path, members)
    for text in (b"[" * 200_000, b"null", b"[]", b'{"format": 1e999}'):
      members["layout.json"] = text
      self.assert_damaged(path, members)
    members["layout.json"] = json.dumps(layout).encode()
    members["more"] = b""
    self.assert_damaged(path, members)
    del members["more"]
    members["skeleton"] = bytes(1 << 24)
    self.assert_damaged(path, members)

  def assert_damaged(self, path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
      for name, contents in members.items():
        archive.writestr(name, contents)
    with self.assertRaisesRegex(InputError, "export it again"):
      read_transport(path)

  def test_fuzzed_archives_get_an_error_or_pass(self):
    count = fuzz_transports(2000, 7)
    self.assertEqual(count.refused + count.passed, count.cases)
    self.assertGreater(count.refused, 0.5 * count.cases)
    self.assertGreater(count.passed, 0)


if __name__ == "__main__":
  absltest.main()

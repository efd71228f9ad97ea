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
  from_digits,
  pack_fields,
  read_transport,
  to_digits,
  unpack_fields,
  values_per_byte,
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
  def write(self, contents):
    path = os.path.join(self.create_tempdir().full_path, "m.tflite.zip")
    return path, write_transport(contents, path)

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
    path, size = self.write(contents)
    self.assertEqual(read_transport(path), contents)
    self.assertEqual(os.path.getsize(path), size)
    with zipfile.ZipFile(path) as archive:
      self.assertIsNone(archive.testzip())

  @parameterized.parameters(
    # Of uniform integers, log2(15) and so on. Of each run that 2:4 keeps two
    # of: both are not zero with 196/225 (6 places, 14 * 14 values), one is with
    # 28/225 (4 places, 14 values), none with 1/225.
    (4, (2, 4), 2.547),
    (4, None, 3.907),
    (2, None, 1.585),
    (8, None, 7.994),
  )
  def test_weights_cost_what_they_say(self, bits, kept_of, entropy_bits):
    shape = (64, 4096)
    contents = _file(
      [(bits, _kernel(bits, kept_of, shape))], np.zeros(1, np.float32)
    )
    _, size = self.write(contents)
    cost_bits = 8 * size / np.prod(shape)
    self.assertBetween(cost_bits, entropy_bits, 1.03 * entropy_bits)

  def test_the_layout_by_hand(self):
    kernel = np.zeros((16, 8), np.int8)
    kernel[0] = [0, 3, 0, -7, 1, 0, 0, 0]
    kernel[15, 7] = 2
    path, _ = self.write(_file([(4, kernel)], np.zeros(1, np.float32)))
    with zipfile.ZipFile(path) as archive:
      layout = json.loads(archive.read("layout.json"))
      nonzero, values = archive.read("nonzero"), archive.read("values_4")
      # The one scale vector has 16 floats; the float constant is too short.
      self.assertEqual(
        archive.namelist(),
        ["layout.json", "skeleton", "floats", "nonzero", "values_4"],
      )
    self.assertEqual(layout["format"], "tflite-pieces-2")
    sizes = sorted((bits, size) for bits, _, size in layout["pieces"])
    self.assertEqual(sizes, [(4, 64), (32, 64)])
    self.assertEqual(nonzero, bytes([0b00011010, *[0] * 14, 0b10000000]))
    # 3 is the field 3, -7 is 9; digits are one less.
    self.assertEqual(values, bytes([2 + 15 * 8, 0 + 15 * 1]))

  @parameterized.parameters((2, 5), (4, 2), (8, 1))
  def test_digits_come_back(self, bits, in_byte):
    self.assertEqual(values_per_byte(bits), in_byte)
    numbers = np.arange(2**bits - 1, dtype=np.uint8)
    self.assertEqual(
      from_digits(to_digits(numbers, bits), bits)[: len(numbers)].tolist(),
      numbers.tolist(),
    )

  def test_fields_by_hand(self):
    fields = np.array([1, 2, 3, 0, 3], np.uint8)
    self.assertEqual(pack_fields(fields, 2).tolist(), [0b00111001, 0b11])
    self.assertEqual(
      unpack_fields(pack_fields(fields, 2), 2)[:5].tolist(), fields.tolist()
    )

  def test_damage_is_told_in_one_line(self):
    contents = _file([(4, _kernel(4, (2, 4)))], np.zeros(64, np.float32))
    path, _ = self.write(contents)
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
    path, _ = self.write(contents)
    with zipfile.ZipFile(path) as archive:
      members = {name: archive.read(name) for name in archive.namelist()}
    layout = json.loads(members["layout.json"])
    piece = layout["pieces"][0]
    for change in (
      {"bytes": 2**40},
      {"bytes": 10**9},
      {"bytes": -1},
      {"bytes": 1e3},
      {"pieces": [[0, *piece[1:]]]},
      {"pieces": [[3, *piece[1:]]]},
      {"pieces": [[4, -8, 8]]},
      {"pieces": [[4, 0, 10**6]]},
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

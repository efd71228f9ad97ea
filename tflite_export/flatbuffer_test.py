"""Reading, trimming and sealing .tflite files; no TensorFlow here."""

import struct
import time

import numpy as np
from absl.testing import absltest
from ai_edge_litert import schema_py_generated as schema

from lingvo_lite.stage.errors import InputError
from tflite_export.flatbuffer import (
  add_metadata,
  constants,
  describe,
  integers_of,
  read_flatbuffer,
  seal,
  shorten_biases,
  trim,
  write_flatbuffer,
)
from tflite_export.flatbuffer_seal import (
  FILE_IDENTIFIER,
  check_seal,
  read_metadata,
)


def _model():
  """One tensor of four int8 channels and one of floats."""
  model = schema.ModelT()
  model.version = 3
  model.operatorCodes = []
  subgraph = schema.SubGraphT()
  subgraph.operators = []
  subgraph.inputs = subgraph.outputs = np.zeros(0, np.int32)
  subgraph.tensors = []
  model.buffers = [schema.BufferT()]
  for index in range(3):
    tensor = schema.TensorT()
    tensor.name = b"a/long/name/of/tensor/%d" % index
    tensor.shape = np.array([4, 2], np.int32)
    tensor.type = schema.TensorType.INT8
    tensor.buffer = index + 1
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = np.arange(1, 5, dtype=np.float32) + index
    tensor.quantization.zeroPoint = np.zeros(4, np.int64)
    buffer = schema.BufferT()
    buffer.data = np.arange(8, dtype=np.uint8) + index
    model.buffers.append(buffer)
    subgraph.tensors.append(tensor)
  model.subgraphs = [subgraph]
  return model


def _tensor(kind, shape):
  tensor = schema.TensorT()
  tensor.type = kind
  tensor.shape = np.array(shape, np.int32)
  tensor.quantization = schema.QuantizationParametersT()
  return tensor


class FlatbufferTest(absltest.TestCase):
  def test_biases_are_rounded_and_nothing_else(self):
    model = _model()
    code = schema.OperatorCodeT()
    code.builtinCode = schema.BuiltinOperator.FULLY_CONNECTED
    model.operatorCodes = [code]
    operator = schema.OperatorT()
    operator.inputs = np.array([0, 1, 2], np.int32)
    without_bias = schema.OperatorT()
    without_bias.inputs = np.array([0, 1, -1], np.int32)
    model.subgraphs[0].operators = [operator, without_bias]
    # Half a step goes to the even neighbour, more to the next.
    bias = np.array([3, 1 + 2**-8, 1 + 2**-8 + 2**-12, -1 - 3 * 2**-8])
    model.buffers[3].data = bias.astype(np.float32).view(np.uint8)
    tensor = model.subgraphs[0].tensors[2]
    # With static activations biases are integers, which stay.
    tensor.type = schema.TensorType.INT32
    shorten_biases(model)
    np.testing.assert_array_equal(
      model.buffers[3].data.view(np.float32), bias.astype(np.float32)
    )
    tensor.type = schema.TensorType.FLOAT32
    others = [np.array(model.buffers[index].data) for index in (1, 2)]
    shorten_biases(model)
    found = model.buffers[3].data.view(np.float32)
    np.testing.assert_array_equal(found, [3, 1, 1 + 2**-7, -1 - 2**-6])
    for index, other in zip((1, 2), others, strict=True):
      np.testing.assert_array_equal(model.buffers[index].data, other)

  def test_what_is_written_is_read_again(self):
    model = read_flatbuffer(write_flatbuffer(_model()))
    found = [
      (tensor.name, integers_of(tensor, data)[1].tolist())
      for tensor, data in constants(model)
    ]
    self.assertLen(found, 3)
    self.assertEqual(found[1][0], b"a/long/name/of/tensor/1")
    self.assertEqual(found[1][1], [[1, 2], [3, 4], [5, 6], [7, 8]])
    scales = [t.quantization.scale.tolist() for t in model.subgraphs[0].tensors]
    self.assertEqual(scales[2], [3, 4, 5, 6])

  def test_contents_are_aligned_and_equal_vectors_written_once(self):
    contents = write_flatbuffer(_model())
    parsed = schema.Model.GetRootAs(contents, 0)
    for index in range(1, 4):
      table = parsed.Buffers(index)._tab
      self.assertEqual(table.Vector(table.Offset(4)) % 16, 0)
    points = set()
    for index in range(3):
      table = parsed.Subgraphs(0).Tensors(index).Quantization()._tab
      points.add(table.Vector(table.Offset(10)))
    self.assertLen(points, 1)

  def test_unpacks_small_integers(self):
    # Low bits first: 0x2F is -1, 2 as int4; 0b11_01_00_10 is -2, 0, 1, -1.
    bits, values = integers_of(
      _tensor(schema.TensorType.INT4, [1, 3]), np.array([0x2F, 0x08], np.uint8)
    )
    self.assertEqual((bits, values.tolist()), (4, [[-1, 2, -8]]))
    bits, values = integers_of(
      _tensor(schema.TensorType.INT2, [4]), np.array([0b11010010], np.uint8)
    )
    self.assertEqual((bits, values.tolist()), (2, [-2, 0, 1, -1]))
    self.assertIsNone(
      integers_of(
        _tensor(schema.TensorType.FLOAT32, [1]), np.zeros(4, np.uint8)
      )
    )

  def test_trimming_shortens_names_and_keeps_them_apart(self):
    model = _model()
    add_metadata(model, "min_runtime_version", b"1.5.0")
    trim(model)
    names = [tensor.name for tensor in model.subgraphs[0].tensors]
    self.assertEqual(names, [b"0", b"1", b"2"])
    self.assertEmpty(model.metadata)

  def test_metadata_is_read_back(self):
    model = _model()
    describe(model, ("A", " ", "'"), {"recipe": {"name": "int4"}})
    contents = seal(model)
    check_seal(contents)
    self.assertEqual(read_metadata(contents, "labels"), b"A\n \n'")
    self.assertEqual(
      read_metadata(contents, "description"), b'{"recipe": {"name": "int4"}}'
    )
    self.assertIsNone(read_metadata(contents, "other"))

  def test_every_damage_is_found(self):
    model = _model()
    describe(model, ("A",), {})
    whole = seal(model)
    for cut in range(len(whole)):
      with self.assertRaises(InputError):
        check_seal(whole[:cut])
    for place in range(len(whole)):
      for bit in (1, 128):
        damaged = bytearray(whole)
        damaged[place] ^= bit
        with self.assertRaises(InputError):
          check_seal(bytes(damaged))
    with self.assertRaises(InputError):
      check_seal(whole + b"\0")

  def test_a_form_that_unfolds_is_refused_in_time(self):
    # A model's operation codes are one empty table, named many times; each time
    # its form of 32,765 absent fields would be gone through.
    count, fields = 20_000, 32_765
    model_form = struct.pack("<4H", 8, 12, 4, 8)
    model = struct.pack("<iII", 8, 3, 4)
    places = np.arange(count) * 4
    empty_form = struct.pack("<2H", 4 + 2 * fields, 4) + bytes(2 * fields)
    start = 8 + len(model_form) + len(model) + 4
    table = start + 4 * count + len(empty_form)
    contents = b"".join(
      (
        struct.pack("<I", 16) + FILE_IDENTIFIER,
        model_form,
        model,
        struct.pack("<I", count),
        (table - start - places).astype("<u4").tobytes(),
        empty_form,
        struct.pack("<i", len(empty_form)),
      )
    )
    began = time.process_time()
    with self.assertRaisesRegex(InputError, "no graph"):
      read_flatbuffer(contents)
    self.assertLess(time.process_time() - began, 5)

  def test_files_of_others_are_refused(self):
    with self.assertRaisesRegex(InputError, "without the digest"):
      check_seal(write_flatbuffer(_model()))
    with self.assertRaisesRegex(InputError, "begins with b'RIFF"):
      check_seal(b"RIFF\0\0\0\0WAVEfmt ")


if __name__ == "__main__":
  absltest.main()

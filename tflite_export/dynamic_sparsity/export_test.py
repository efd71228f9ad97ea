"""One .tflite file of several sparsities, and switching between them."""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from lingvo_lite.data.utterance import Utterance
from lingvo_lite.dynamic_sparsity.block_masks import find_block_layers
from lingvo_lite.dynamic_sparsity.levels import SparsityLevels, level_name
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.stage.errors import InputError
from tflite_export.dynamic_sparsity import export as export_module
from tflite_export.dynamic_sparsity import levels_file
from tflite_export.dynamic_sparsity.all_levels import AllLevels
from tflite_export.dynamic_sparsity.block_sparse import decode, encode
from tflite_export.dynamic_sparsity.budget import Budget, LevelChooser, pick
from tflite_export.dynamic_sparsity.dynamic_recognizer import DynamicRecognizer
from tflite_export.dynamic_sparsity.export import (
  LEVELS_FILE,
  add_verdicts,
  export_levels,
)
from tflite_export.dynamic_sparsity.exportable import check_exportable
from tflite_export.dynamic_sparsity.layer_sparsity import uniform_sparsity
from tflite_export.dynamic_sparsity.training import prune_dynamic
from tflite_export.flatbuffer import read_flatbuffer
from tflite_export.interpreter import Recognizer
from tflite_export.speech import SpokenUtterance

# The block does not divide the inputs of the attention's output: d_model 48.
_CONFIG = ConformerConfig(
  num_blocks=1,
  d_model=48,
  ffn_units=64,
  num_heads=2,
  conv_kernel_size=3,
  subsampling_channels=4,
  norm_groups=2,
)
_LEVELS = SparsityLevels((0.0, 0.5, 0.8), block=32)


def _spoken():
  rng = np.random.default_rng(0)
  return [
    SpokenUtterance(
      Utterance(f"1-1-{n}", "", "noise", "1", "1"),
      rng.normal(0, 0.1, n).astype(np.float32),
    )
    for n in (1600, 16_001, 48_000)
  ]


def _dynamic():
  tf.keras.utils.set_random_seed(0)
  model = build_ctc_model(_CONFIG)
  # As after training: the converter moves the offsets of norms about.
  draw = np.random.default_rng(0)
  for weight in model.trainable_variables:
    if len(weight.shape) == 1:
      weight.assign_add(draw.normal(0, 0.3, weight.shape).astype(np.float32))
  layers = find_block_layers(model, _LEVELS.block)
  return prune_dynamic(model, _LEVELS, uniform_sparsity(layers.sparse, _LEVELS))


class BlockSparseTest(parameterized.TestCase):
  def test_by_hand(self):
    integers = np.zeros([2, 32], np.int8)
    integers[0, 16:] = 3
    data, sparsity = encode(integers, "layer")
    np.testing.assert_array_equal(data, np.full(16, 3, np.uint8))
    columns = sparsity.dimMetadata[1]
    self.assertEqual(columns.arraySegments.values.tolist(), [0, 1, 1])
    self.assertEqual(columns.arrayIndices.values.tolist(), [1])

  @parameterized.parameters((1, 16), (7, 64), (300, 4080))
  def test_decode_inverts_encode(self, outputs, inputs):
    rng = np.random.default_rng(outputs)
    blocks = rng.integers(-127, 128, [outputs, inputs // 16, 16], np.int8)
    blocks[rng.uniform(size=blocks.shape[:2]) < 0.8] = 0
    integers = blocks.reshape(outputs, inputs)
    tensor = mock.Mock(shape=[outputs, inputs])
    data, tensor.sparsity = encode(integers, "layer")
    np.testing.assert_array_equal(decode(tensor, data), integers)

  def test_a_matrix_that_is_too_wide(self):
    with self.assertRaisesRegex(InputError, "4096 of wide, expected at most"):
      encode(np.zeros([1, 4096], np.int8), "wide")


class ExportTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    temporary = tempfile.TemporaryDirectory()
    cls.addClassCleanup(temporary.cleanup)
    cls.folder = temporary.name
    cls.path = os.path.join(cls.folder, LEVELS_FILE)
    cls.dynamic = _dynamic()
    cls.base = None

    def convert(model, config):
      cls.base = converted(model, config)
      return cls.base

    converted = export_module.convert
    with mock.patch.object(export_module, "convert", convert):
      cls.figures = export_levels(
        cls.dynamic, _CONFIG, _spoken(), "noise", cls.folder
      )

  def test_each_level_computes_what_keras_does(self):
    # Also what stays dense beside the sparse: int8, in the same graph.
    self.assertIn("block_00/attention/query", self.dynamic.dense_layers)
    for row in self.figures["levels"]:
      self.assertLess(row["parity"]["relative_error"], 0.03, row["level"])
      self.assertEqual(row["parity"]["utterances"], 3)

  def test_sparse_kernels_run(self):
    sparse = len(self.dynamic.kept_levels)
    dense = len(self.dynamic.dense_layers)
    found = [row["kernels"] for row in self.figures["levels"]]
    self.assertEqual(found[0]["block_sparse"], 0)
    self.assertEqual(found[0]["delegated_dense"], sparse + dense)
    for kernels in found[1:]:
      self.assertEqual(kernels["block_sparse"], sparse)
      self.assertEqual(kernels["delegated_dense"], dense)

  def test_shared_operator_codes_are_noticed(self):
    # The trap: with one code for both, the delegate reads blocks as dense.
    with mock.patch.object(levels_file, "_SPARSE_VERSION", 12):
      with mock.patch.object(
        export_module, "convert", lambda model, config: self.base
      ):
        with self.assertRaisesRegex(InputError, "taken by LiteRT's default"):
          export_levels(
            self.dynamic, _CONFIG, _spoken(), "noise", self.create_tempdir()
          )

  def test_a_level_file_holds_the_masked_weights(self):
    with open(os.path.join(self.folder, "dynamic_s80.tflite"), "rb") as file:
      model = read_flatbuffer(file.read())
    masked = self.dynamic.at(0.8)
    expected = {
      name: masked.get_layer(name).kernel.numpy().T
      for name in self.dynamic.kept_levels
    }
    tensors = [t for t in model.subgraphs[0].tensors if t.sparsity]
    self.assertLen(tensors, len(expected))
    for tensor in tensors:
      found = decode(tensor, np.asarray(model.buffers[tensor.buffer].data))
      self.assertTrue(
        any(
          kernel.shape == found.shape
          and np.array_equal(
            found, np.rint(kernel / (np.abs(kernel).max() / np.float32(127)))
          )
          for kernel in expected.values()
        )
      )

  def test_levels_share_what_is_the_same(self):
    rows = self.figures["levels"]
    sizes = [row["bytes"] for row in rows]
    self.assertEqual(sizes, sorted(sizes, reverse=True))
    self.assertLess(self.figures["bytes_of_separate_files"], 0.9)
    self.assertGreater(self.figures["shared_bytes"], 0)
    self.assertEqual(os.path.getsize(self.path), self.figures["bytes"])

  def test_recognizer_switches(self):
    recognizer = DynamicRecognizer(self.path)
    self.assertEqual(recognizer.sparsities, _LEVELS.sparsities)
    self.assertEqual(recognizer.sparsity, 0.0)
    pcm = _spoken()[1].pcm
    for sparsity in (0.8, 0.0, 0.5, 0.8):
      recognizer.use(sparsity)
      name = f"dynamic_{level_name(sparsity)}.tflite"
      alone = Recognizer(os.path.join(self.folder, name))
      np.testing.assert_array_equal(
        recognizer.recognize(pcm).logits, alone.recognize(pcm).logits
      )
    started = time.perf_counter()
    for _ in range(100):
      recognizer.use(0.0)
      recognizer.use(0.8)
    self.assertLess(time.perf_counter() - started, 200 * 1e-3)

  def test_a_level_that_the_file_has_not(self):
    recognizer = DynamicRecognizer(self.path)
    with self.assertRaisesRegex(InputError, r"0.7, expected one of \[0.0, 0.5"):
      recognizer.use(0.7)
    self.assertEqual(recognizer.sparsity, 0.0)

  def test_a_file_without_levels(self):
    path = os.path.join(self.folder, "dynamic_s80.tflite")
    with self.assertRaisesRegex(InputError, "without levels"):
      DynamicRecognizer(path)

  def test_a_damaged_file(self):
    with open(self.path, "rb") as file:
      contents = bytearray(file.read())
    contents[len(contents) // 2] ^= 1
    path = self.create_tempfile(content=bytes(contents), mode="wb").full_path
    with self.assertRaisesRegex(InputError, "damaged|differs|export"):
      DynamicRecognizer(path)

  def test_chooses_by_what_it_measured(self):
    recognizer = DynamicRecognizer(self.path)
    chooser = LevelChooser(recognizer)
    figures = chooser.latency_ms()
    self.assertEqual(recognizer.sparsity, 0.0)
    self.assertEqual(list(figures), list(_LEVELS.sparsities))
    loose = Budget(latency_ms=10 * max(figures.values()))
    self.assertEqual(chooser.choose(loose), 0.0)
    with self.assertRaisesRegex(InputError, "the closest is 0"):
      chooser.choose(Budget(latency_ms=min(figures.values()) / 10))

  def test_measures_memory_without_tensorflow(self):
    code = (
      "import sys; from tflite_export.dynamic_sparsity.budget import"
      " DynamicRecognizer, LevelChooser;"
      " chooser = LevelChooser(DynamicRecognizer(sys.argv[1]));"
      " print('tensorflow' in sys.modules, len(chooser.memory_bytes()))"
    )
    done = subprocess.run(
      [sys.executable, "-c", code, self.path],
      capture_output=True,
      text=True,
      check=True,
      env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    self.assertEqual(done.stdout.split(), ["False", "3"])

  def test_the_file_loaded_whole_switches(self):
    with open(self.path, "rb") as file:
      contents = file.read()
    levels = AllLevels(contents, _LEVELS.sparsities)
    pcm = _spoken()[1].pcm
    for sparsity in (0.0, 0.8, 0.0, 0.5):
      name = f"dynamic_{level_name(sparsity)}.tflite"
      alone = Recognizer(os.path.join(self.folder, name)).recognize(pcm)
      outputs = levels.run(sparsity, pcm)
      np.testing.assert_array_equal(outputs["logits"][0], alone.logits)
      np.testing.assert_array_equal(
        outputs["labels"][: int(outputs["count"])], alone.labels
      )
    with self.assertRaisesRegex(InputError, "'transcribe_s70'"):
      AllLevels(contents, (0.7,))

  def test_a_file_that_is_wrong_only_when_loaded_whole(self):
    def levels_swapped(model):
      first, *_, last = model.signatureDefs
      first.subgraphIndex, last.subgraphIndex = 2, 0

    def shared_operator_code(model):
      # The trap again, in the graph of one level.
      codes = [code.version for code in model.operatorCodes]
      for operator in model.subgraphs[2].operators:
        if codes[operator.opcodeIndex] == levels_file._SPARSE_VERSION:
          operator.opcodeIndex = codes.index(levels_file._DENSE_VERSION)

    expand = levels_file.expand_levels
    for spoil in (levels_swapped, shared_operator_code):

      def spoilt(base, dynamic, signatures, spoil=spoil):
        model = expand(base, dynamic, signatures)
        if len(signatures) > 1:
          spoil(model)
        return model

      folder = self.create_tempdir().full_path
      with (
        self.subTest(spoil.__name__),
        mock.patch.object(export_module, "expand_levels", spoilt),
        mock.patch.object(export_module, "convert", lambda *_: self.base),
        self.assertRaisesRegex(InputError, "transcribe_s.* loaded whole"),
      ):
        export_levels(self.dynamic, _CONFIG, _spoken(), "noise", folder)
      self.assertNotIn(LEVELS_FILE, os.listdir(folder))
      self.assertIn("dynamic_s80.tflite", os.listdir(folder))


class ExportableTest(absltest.TestCase):
  def test_refuses_what_has_no_kernel_or_streams(self):
    streaming = dataclasses.replace(
      _CONFIG, causal=True, left_context_frames=8, chunk_frames=4
    )
    labels = dataclasses.replace(_CONFIG, vocabulary_size=40)
    narrow = SparsityLevels((0.0, 0.5), block=4)
    wide = mock.Mock()
    wide.get_layer.return_value.kernel.shape = (4096, 8)
    for model, config, levels, message in (
      (
        None,
        streaming,
        _LEVELS,
        "a model that streams, expected one for whole",
      ),
      (None, labels, _LEVELS, "a model of 40 labels, expected"),
      (None, _CONFIG, narrow, "blocks of 4 weights, expected a multiple of 16"),
      (wide, _CONFIG, _LEVELS, "4096 of block_00/x, expected at most 4080"),
    ):
      with self.assertRaisesRegex(InputError, message):
        check_exportable(model, config, levels, ("block_00/x",))

  def test_the_exporter_asks_first(self):
    dynamic = mock.Mock(levels=_LEVELS, kept_levels={})
    streaming = dataclasses.replace(
      _CONFIG, causal=True, left_context_frames=8, chunk_frames=4
    )
    with mock.patch.object(export_module, "convert") as convert:
      with self.assertRaisesRegex(InputError, "streams"):
        export_levels(dynamic, streaming, _spoken(), "noise", "/nowhere")
    convert.assert_not_called()


class BudgetTest(absltest.TestCase):
  def test_the_densest_level_within_it(self):
    latency = {0.0: 20.0, 0.5: 22.0, 0.8: 12.0, 0.9: 9.0}
    memory = {0.0: 90, 0.5: 80, 0.8: 60, 0.9: 50}
    levels = tuple(latency)
    for budget, expected in (
      (Budget(latency_ms=20.0), 0.0),
      (Budget(latency_ms=15.0), 0.8),
      (Budget(memory_bytes=80), 0.5),
      (Budget(latency_ms=21.0, memory_bytes=80), 0.8),
    ):
      self.assertEqual(pick(levels, budget, latency, memory), expected)
    with self.assertRaisesRegex(
      InputError, "within 5 ms, .* closest is 0.9 with 9.00 ms"
    ):
      pick(levels, Budget(latency_ms=5.0), latency, memory)
    with self.assertRaisesRegex(InputError, "closest is 0.9 .* and 0.0 MB"):
      pick(levels, Budget(5.0, 40), latency, memory)
    with self.assertRaisesRegex(InputError, "neither"):
      Budget()


class VerdictTest(absltest.TestCase):
  def test_slower_is_no_improvement(self):
    rows = [{}, {}, {}]
    add_verdicts(rows, [10.0, 12.0, 6.0])
    self.assertEqual([r["is_improvement"] for r in rows], [None, False, True])
    self.assertIn("no improvement: 1.20", rows[1]["verdict"])
    self.assertIn("an improvement: 0.50", rows[2]["verdict"])


if __name__ == "__main__":
  absltest.main()

"""From Keras to .tflite files that compute the same, and what is refused."""

import dataclasses
import os
import tempfile
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from lingvo_lite.audio.log_mel import LogMel
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.quantization.grid import Grid, find_grid, short_floats
from lingvo_lite.stage.errors import InputError
from tflite_export import export as export_module
from tflite_export.compress import CompressedModel, compress
from tflite_export.convert import convert
from tflite_export.export import (
  check_nothing_left_out,
  export,
  with_static_name,
)
from tflite_export.flatbuffer import constants, integers_of, read_flatbuffer
from tflite_export.flatbuffer_check import OPERATORS
from tflite_export.interpreter import Recognizer
from tflite_export.offline_model import build_offline_model
from tflite_export.parity import check_parity
from tflite_export.pruning.n_of_m import check_kept_of
from tflite_export.qat.quantizers import kernel_name, kernel_of
from tflite_export.quantize import check_integers, quantize
from tflite_export.recipe_lookup import find_recipe
from tflite_export.recipes import Recipe
from tflite_export.transport import transport_path
from tflite_export.transport_reader import read_transport

_CONFIG = ConformerConfig(
  num_blocks=1,
  d_model=16,
  ffn_units=32,
  num_heads=2,
  conv_kernel_size=3,
  subsampling_channels=4,
  norm_groups=2,
)
_FLOATS = ("float32", "float32_2of4")
_PRUNED = ("int4_2of4", "int3_1of4", "mixed_2of4")
# One is trained, with masks that change: what that leaves behind is what has to
# be in the file.
_TRAINED = "int4_2of4"
_TRAINING = {
  "fine_tune_steps": 6,
  "learning_rate": 0.03,
  "mask_updates": 3,
  "mask_update_every": 2,
  "dropped_decay": 2e-4,
}
_RECIPES = (*_FLOATS, "int8", "int4", "int2", *_PRUNED)
# Kernels of 5, 6 and 7 bits in one file.
_ODD = "odd"
# LiteRT's types for integers of so many bits.
_ROOM = {2: 2, 3: 4, 4: 4, 5: 8, 6: 8, 7: 8, 8: 8}
# TensorType of the schema.
_FLOAT32 = 0


def _lively_model(config):
  """A model whose norms and biases do something too."""
  model = build_ctc_model(config)
  rng = np.random.default_rng(0)
  for weight in model.weights:
    if weight.shape.rank <= 2 and "kernel" not in weight.name:
      noise = rng.uniform(0.1, 0.5, weight.shape)
      weight.assign_add(tf.cast(noise, tf.float32))
  return model


def _sound(samples, seed=0):
  noise = np.random.default_rng(seed).normal(0, 0.1, samples)
  return noise.astype(np.float32)


def _batches():
  features = np.random.default_rng(1).normal(size=[2, 40, 80])
  batch = {
    "features": tf.constant(features, tf.float32),
    "lengths": tf.constant([40, 40]),
  }
  return [batch] * 20


def _speech():
  # All that a file is asked for: one sample, a frame's edge, long and odd.
  return [_sound(n, n) for n in (1, 160, 161, 400, 7001, 16_000, 48_000)]


class OfflineModelTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    {},
    {"norm": "layer"},
    {"norm": "batch"},
    {"causal": True},
    {"left_context_frames": 3},
    {"causal": True, "left_context_frames": 2, "norm": "layer"},
    {"widths": (("block_00/conv", 1), ("block_00/ffn_end", 8))},
  )
  def test_computes_what_the_trained_model_does(self, **fields):
    model = _lively_model(dataclasses.replace(_CONFIG, **fields))
    offline = build_offline_model(model)
    for frames in (1, 2, 3, 4, 5, 37):
      features = tf.random.stateless_normal([1, frames, 80], [frames, 0])
      lengths = tf.constant([frames])
      self.assertAllClose(
        offline([features, lengths]),
        model([features, lengths])[0],
        atol=2e-5,
        msg=str(frames),
      )


class ExportTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.model = _lively_model(_CONFIG)
    temporary = tempfile.TemporaryDirectory()
    cls.addClassCleanup(temporary.cleanup)
    cls.folder = temporary.name
    cls.reports, cls.compressed = {}, {}
    for name in _RECIPES:
      changes = _TRAINING if name == _TRAINED else {"fine_tune_steps": 0}
      recipe = dataclasses.replace(find_recipe(name), **changes)
      model = _few_large(cls.model) if recipe.mean_bits else cls.model
      cls.compressed[name] = compress(model, recipe, _batches)
    cls.compressed[_ODD] = _rounded_by_layer(cls.model, (5, 6, 7))
    for name, compressed in cls.compressed.items():
      cls.reports[name] = export(
        compressed, _CONFIG, _speech(), "noise", cls.path(name)
      )

  @classmethod
  def path(cls, name):
    return os.path.join(cls.folder, f"{name}.tflite")

  def contents(self, name):
    with open(self.path(name), "rb") as file:
      return file.read()

  def kernels(self, name):
    """The `(bits, integers)` in a file."""
    for tensor, data in constants(read_flatbuffer(self.contents(name))):
      found = integers_of(tensor, data)
      if found is not None:
        yield found

  def test_files_compute_what_keras_does_at_any_length(self):
    for name, compressed in self.compressed.items():
      recognizer = Recognizer(self.path(name))
      for pcm in _speech():
        features = LogMel()(pcm[np.newaxis])
        lengths = tf.constant([features.shape[1]])
        expected = compressed.model([features, lengths])[0].numpy()
        found = recognizer.recognize(pcm).logits
        self.assertEqual(found.shape, expected.shape)
        limit = 1e-4 if name == "float32" else 0.1 * expected.std()
        self.assertLess(np.sqrt(np.mean((found - expected) ** 2)), limit, name)

  def test_no_slow_operation(self):
    # TFLite runs both number by number; `tf.slice` and `MatrixLogMel` do not.
    slow = {"STRIDED_SLICE", "RFFT2D"}
    for name in self.compressed:
      model = read_flatbuffer(self.contents(name))
      graph = model.subgraphs[0]
      found = {
        OPERATORS[model.operatorCodes[operator.opcodeIndex].builtinCode]
        for operator in graph.operators
        if graph.tensors[operator.outputs[0]].type == _FLOAT32
      }
      self.assertEmpty(found & slow, name)

  def test_integers_are_the_trained_ones(self):
    for name, compressed in self.compressed.items():
      in_file = sorted(
        (bits, sorted(np.ravel(values).tolist()))
        for bits, values in self.kernels(name)
      )
      trained = sorted(
        (_ROOM[bits], sorted(np.ravel(_grid(compressed, at).integers).tolist()))
        for at, bits in compressed.bits_by_layer.items()
      )
      self.assertEqual(in_file, trained, name)
      self.assertLen(in_file, 0 if name in _FLOATS else 16)

  def test_sparsity_outlives_training_and_is_in_the_file(self):
    for name in _PRUNED:
      compressed = self.compressed[name]
      matrices = {
        values.T.tobytes(): values.T
        for _, values in self.kernels(name)
        if values.ndim == 2
      }
      for layer in compressed.pruned_layers:
        trained = _grid(compressed, layer).integers
        check_kept_of(
          matrices[trained.tobytes()], compressed.recipe.kept_of, layer
        )
      if compressed.recipe.mean_bits:
        self.assertBetween(len(compressed.pruned_layers), 1, 12)
        self.assertGreater(len(set(compressed.bits_by_layer.values())), 1)
      else:
        self.assertLen(compressed.pruned_layers, 13)
    self.assertLen(self.compressed[_TRAINED].losses, 6)
    self.assertGreater(max(self.compressed[_TRAINED].mask_churn), 0)

  def test_odd_bits_take_the_next_wider_room(self):
    bits = {*self.compressed[_ODD].bits_by_layer.values()}
    self.assertEqual(bits, {5, 6, 7})
    rooms = {room for room, _ in self.kernels(_ODD)}
    self.assertEqual(rooms, {8})
    rooms = [room for room, _ in self.kernels("int3_1of4")]
    self.assertCountEqual(rooms, [4] * 13 + [8] * 3)
    # As large as with four bits, but for the name; smaller on the way.
    three, four = self.reports["int3_1of4"], self.reports["int4"]
    for kind in ("integer_kernels", "scales"):
      self.assertEqual(
        three["bytes_by_kind"][kind], four["bytes_by_kind"][kind]
      )
    self.assertLess(
      self.reports[_ODD]["transport_bytes"],
      self.reports["int8"]["transport_bytes"],
    )

  def test_the_transport_form_is_the_file_and_smaller(self):
    for name, report in self.reports.items():
      path = transport_path(self.path(name))
      self.assertEqual(read_transport(path), self.contents(name))
      self.assertEqual(report["transport_bytes"], os.path.getsize(path))
      self.assertLess(report["transport_bytes"], report["bytes"])

  def test_what_stays_float_is_listed(self):
    for name, report in self.reports.items():
      listed = sum(row["bytes"] for row in report["stays_float"])
      integers = report["bytes_by_kind"]["integer_kernels"]
      every = 4 * self.model.count_params()
      self.assertEqual(listed < every, name not in _FLOATS)
      if name == "int8":
        self.assertEqual(listed, every - 4 * integers)
    # Short floats: the lower half of every number in the file is zero.
    for layer in self.compressed["int4"].model.layers:
      for weight in layer.weights:
        if "kernel" not in weight.name:
          bits = weight.numpy().view(np.uint32)
          self.assertEqual(int((bits & 0xFFFF).max()), 0, weight.name)

  def test_labels_and_description_are_in_the_file(self):
    recognizer = Recognizer(self.path("int4_2of4"))
    self.assertLen(recognizer.labels, 28)
    self.assertEqual(recognizer.labels[:4], (" ", "'", "A", "B"))
    self.assertEqual(recognizer.description["recipe"]["kept_of"], [2, 4])
    self.assertEqual(recognizer.description["sample_rate_hz"], 16_000)
    self.assertEqual(recognizer.description["training_data"], "noise")
    self.assertEqual(recognizer.description["model"], _CONFIG.to_dict())

  def test_bytes_are_all_accounted_for(self):
    for name, report in self.reports.items():
      size = os.path.getsize(self.path(name))
      self.assertEqual(sum(report["bytes_by_kind"].values()), size)
      self.assertEqual(report["bytes"], size)
      self.assertEqual(report["flex_ops"], 0)
    weights = self.reports["float32"]["bytes_by_kind"]
    integers = self.reports["int8"]["bytes_by_kind"]
    mel = integers["float_matrices"]
    self.assertEqual(
      weights["float_matrices"] + weights["float_convolutions"] - mel,
      4 * integers["integer_kernels"],
    )

  def test_static_activations_hold_the_same_integers(self):
    for name in ("int8", "int4_2of4"):
      static = with_static_name(self.compressed[name])
      self.assertEqual(static.recipe.name, f"{name}_static")
      path = self.path(static.recipe.name)
      report = export(static, _CONFIG, _speech(), "noise", path, True)
      self.assertLess(report["parity"]["relative_error"], 0.1)
      self.assertCountEqual(
        [(bits, v.tobytes()) for bits, v in self.kernels(static.recipe.name)],
        [(bits, v.tobytes()) for bits, v in self.kernels(name)],
      )
      self.assertEqual(
        sum(report["bytes_by_kind"].values()), os.path.getsize(path)
      )
      floats, before = (
        {(row["layer"], row["weight"]) for row in each["stays_float"]}
        for each in (report, self.reports[name])
      )
      # Biases of matrices are integers here.
      self.assertLess(floats, before)
      self.assertEqual({weight for _, weight in before - floats}, {"bias"})
      description = Recognizer(path).description
      self.assertEqual(description["activations"], "static")
      model = read_flatbuffer(self.contents(static.recipe.name))
      names = [
        OPERATORS[model.operatorCodes[operator.opcodeIndex].builtinCode]
        for operator in model.subgraphs[0].operators
      ]
      self.assertGreater(names.count("QUANTIZE"), 0)
      self.assertNotIn("activations", Recognizer(self.path(name)).description)

  def test_static_activations_want_integers_and_speech(self):
    path = self.path("never")
    for name, speech, words in (
      ("float32_2of4", _speech(), "recipe float32_2of4, expected integers"),
      ("int8", [], "no speech to set the ranges"),
    ):
      with self.assertRaisesRegex(InputError, words):
        export(self.compressed[name], _CONFIG, speech, "noise", path, True)
      self.assertFalse(os.path.exists(path))

  def test_a_scale_that_no_neighbours_tell(self):
    # Only -7, -4 and 7 in a channel: the least step is 3, not 1.
    model = tf.keras.models.clone_model(self.model)
    model.set_weights(self.model.get_weights())
    layer = model.get_layer("ctc/logits")
    integers = np.tile(np.array([7, -4, 0, -7], np.int8)[:, None], [4, 29])
    layer.kernel.assign(integers * np.float32(0.03))
    grid = find_grid(layer.kernel.numpy(), 4)
    self.assertAllEqual(grid.integers, integers)
    written = quantize(convert(model, _CONFIG), [grid])
    check_integers(written, [grid])

  def test_a_grid_that_is_not_in_the_file_is_an_error(self):
    contents = convert(self.model, _CONFIG)
    other = Grid(4, np.ones([16, 29], np.int8), np.ones([1, 29], np.float32))
    with self.assertRaisesRegex(InputError, "1 of 1 trained kernels missing"):
      quantize(contents, [other])
    with self.assertRaisesRegex(InputError, "0 of 1 kernels"):
      check_integers(self.contents("int8"), [other])

  def test_an_operation_that_tflite_lacks_is_named_with_its_layer(self):
    class LogGamma(tf.keras.layers.Layer):
      def call(self, inputs):
        return tf.math.lgamma(inputs)

    odd = LogGamma(name="ctc/odd")(self.model.output)
    with self.assertRaisesRegex(InputError, "Lgamma at .*ctc/odd.*built-in"):
      convert(tf.keras.Model(self.model.inputs, odd), _CONFIG)

  def test_no_kernel_is_left_out(self):
    compressed = self.compressed["int4"]
    for name in ("block_00/conv/depthwise", "subsampling/conv_1", "ctc/logits"):
      bits = {**compressed.bits_by_layer}
      del bits[name]
      with self.assertRaisesRegex(InputError, f"kernel of {name} .* float"):
        check_nothing_left_out(
          dataclasses.replace(compressed, bits_by_layer=bits)
        )
    # In the file: what is float and no vector is the front end's filters.
    matrices = sum(
      4 * layer.kernel.shape.num_elements()
      for layer in self.model.layers
      if isinstance(layer, tf.keras.layers.Dense)
    )
    every = self.reports["float32"]["bytes_by_kind"]["float_matrices"]
    for name in ("int8", "int4", "int2", "int4_2of4"):
      check_nothing_left_out(self.compressed[name])
      kinds = self.reports[name]["bytes_by_kind"]
      self.assertEqual(kinds["float_convolutions"], 0)
      self.assertEqual(kinds["float_matrices"], every - matrices)

  def test_another_model_is_noticed_and_leaves_no_file(self):
    path = os.path.join(self.folder, "wrong", "wrong.tflite")
    stranger = convert(build_ctc_model(_CONFIG, seed=7), _CONFIG)
    with mock.patch.object(export_module, "convert", lambda *_: stranger):
      with self.assertRaisesRegex(InputError, "differ from Keras by"):
        export(self.compressed["float32"], _CONFIG, _speech(), "noise", path)
    self.assertEmpty(os.listdir(os.path.dirname(path)))
    with self.assertRaisesRegex(InputError, "no speech"):
      check_parity(self.path("int8"), self.model, [], True)

  def test_exporting_twice_gives_the_same_file(self):
    path = os.path.join(self.folder, "again.tflite")
    export(self.compressed["int4"], _CONFIG, _speech()[:1], "noise", path)
    with open(path, "rb") as file:
      self.assertEqual(file.read(), self.contents("int4"))

  def test_bad_files_are_told_in_one_line(self):
    whole = self.contents("int4")
    # One bit of the weights; elsewhere the structure itself may be wrong first.
    weights = max(
      (
        np.asarray(buffer.data, np.uint8).tobytes()
        for buffer in read_flatbuffer(whole).buffers
        if buffer.data is not None
      ),
      key=len,
    )
    flipped = bytearray(whole)
    flipped[whole.index(weights)] ^= 4
    cases = {
      "empty": (b"", "found .* empty"),
      "truncated": (whole[: len(whole) // 2], "offset outside the file"),
      "flipped": (bytes(flipped), "SHA-256 does not match"),
      "sound": (b"RIFF0000WAVEfmt ", "expected a .tflite"),
      "another": (convert(self.model, _CONFIG), "without the digest"),
    }
    for name, (contents, message) in cases.items():
      path = os.path.join(self.folder, f"bad_{name}.tflite")
      with open(path, "wb") as file:
        file.write(contents)
      with self.assertRaisesRegex(InputError, message) as caught:
        Recognizer(path)
      self.assertIn(path, str(caught.exception))
    with self.assertRaisesRegex(InputError, "found no file"):
      Recognizer(os.path.join(self.folder, "none.tflite"))

  def test_bad_sound_is_told_in_one_line(self):
    recognizer = Recognizer(self.path("int8"))
    cases = ((np.zeros(0), "no sample"), (np.zeros([2, 9]), "shape"))
    for pcm, found in cases:
      with self.assertRaisesRegex(InputError, found):
        recognizer.recognize(pcm)
    with self.assertRaisesRegex(InputError, "not numbers"):
      recognizer.recognize(np.array([0.0, np.nan]))


def _few_large(model):
  """A model of weights of which few are large, as training makes them."""
  changed = tf.keras.models.clone_model(model)
  changed.set_weights(model.get_weights())
  for layer in changed.layers:
    if isinstance(layer, tf.keras.layers.Dense):
      largest = tf.reduce_max(tf.abs(layer.kernel))
      layer.kernel.assign(layer.kernel**3 / largest**2)
  return changed


def _rounded_by_layer(model, bits):
  """A model whose kernels take turns in how many bits they have."""
  rounded = tf.keras.models.clone_model(model)
  rounded.set_weights(model.get_weights())
  bits_by_layer = {}
  for layer in rounded.layers:
    if kernel_name(layer) is not None:
      width = bits[len(bits_by_layer) % len(bits)]
      kernel = kernel_of(layer)
      kernel.assign(find_grid(kernel.numpy(), width).values)
      bits_by_layer[layer.name] = width
    for weight in layer.weights:
      if "kernel" not in weight.name:
        weight.assign(short_floats(weight))
  recipe = Recipe(_ODD, weight_bits=max(bits))
  return CompressedModel(rounded, recipe, bits_by_layer, ())


def _grid(compressed, layer):
  kernel = kernel_of(compressed.model.get_layer(layer)).numpy()
  return find_grid(kernel, compressed.bits_by_layer[layer])


if __name__ == "__main__":
  tf.test.main()

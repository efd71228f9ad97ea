"""Compression: plain Keras in, plain Keras on the grid out."""

import itertools
import json
import os

import numpy as np
import tensorflow as tf

from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.stage.errors import InputError
from tflite_export.compress import compress
from tflite_export.compressed_file import load_compressed, save_compressed
from tflite_export.pruning.n_of_m import check_kept_of, prune
from tflite_export.qat.grid import find_grid
from tflite_export.qat.quantizers import kernel_of, quantize_aware
from tflite_export.recipes import Recipe
from tflite_export.strip import strip

_CONFIG = ConformerConfig(
  num_blocks=1,
  d_model=8,
  ffn_units=16,
  num_heads=2,
  conv_kernel_size=3,
  subsampling_channels=2,
  norm_groups=2,
)


def _batches():
  features = np.random.default_rng(0).normal(size=[2, 40, 80])
  batch = {
    "features": tf.constant(features, tf.float32),
    "lengths": tf.constant([40, 30]),
  }
  return itertools.repeat(batch)


def _no_batches():
  raise AssertionError("no speech is needed")


class CompressTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.model = build_ctc_model(_CONFIG)

  def assert_on_grid(self, model, bits_by_layer):
    for name, bits in bits_by_layer.items():
      kernel = kernel_of(model.get_layer(name)).numpy()
      grid = find_grid(kernel, bits)
      self.assertAllClose(grid.values, kernel, rtol=1e-6, atol=0, msg=name)
      self.assertLessEqual(np.abs(grid.integers).max(), 2 ** (bits - 1) - 1)

  def test_float32_changes_nothing(self):
    compressed = compress(self.model, Recipe("float32"), _no_batches)
    self.assertIs(compressed.model, self.model)
    self.assertEmpty(compressed.bits_by_layer)

  def test_without_steps_it_is_rounding(self):
    recipe = Recipe("int4", weight_bits=4)
    compressed = compress(self.model, recipe, _no_batches)
    for layer in self.model.layers:
      other = compressed.model.get_layer(layer.name)
      bits = compressed.bits_by_layer.get(layer.name)
      for weight, found in zip(layer.weights, other.weights, strict=True):
        expected = weight.numpy()
        if bits and "kernel" in weight.name:
          expected = find_grid(expected, bits).values
        self.assertAllClose(found, expected, rtol=1e-6, atol=0)
    self.assertEqual(compressed.bits_by_layer["subsampling/conv_0"], 8)
    self.assertEqual(compressed.bits_by_layer["block_00/conv/depthwise"], 8)
    self.assertEqual(compressed.bits_by_layer["block_00/conv/expand"], 4)
    self.assertLen(compressed.bits_by_layer, 16)

  def test_fine_tuning_comes_nearer_and_keeps_grid_and_mask(self):
    recipe = Recipe(
      "int4_2of4",
      weight_bits=4,
      kept_of=(2, 4),
      fine_tune_steps=20,
      learning_rate=1e-2,
    )
    compressed = compress(self.model, recipe, _batches)
    self.assertLen(compressed.losses, 20)
    self.assertLess(np.mean(compressed.losses[-5:]), 0.7 * compressed.losses[0])
    self.assert_on_grid(compressed.model, compressed.bits_by_layer)
    chosen = prune(self.model, (2, 4))
    self.assertLen(compressed.pruned_layers, 13)
    for name in compressed.pruned_layers:
      trained = kernel_of(compressed.model.get_layer(name)).numpy()
      mask = kernel_of(chosen.get_layer(name)).numpy() != 0
      check_kept_of(trained, (2, 4), name)
      self.assertAllEqual(trained[~mask], np.zeros((~mask).sum()))

  def test_a_wrapped_model_computes_what_its_stripped_one_does(self):
    bits = {"block_00/ffn_start/expand": 4, "block_00/conv/depthwise": 8}
    wrapped = quantize_aware(self.model, bits)
    plain = strip(wrapped, self.model, bits)
    batch = next(_batches())
    inputs = [batch["features"], batch["lengths"]]
    self.assertAllClose(wrapped(inputs), plain(inputs), atol=1e-5)
    self.assertNotAllClose(self.model(inputs), plain(inputs), atol=1e-5)
    self.assertEqual(
      [w.name for w in plain.weights], [w.name for w in self.model.weights]
    )
    self.assertLen(wrapped.trainable_variables, len(self.model.weights))

  def test_saved_and_read_again(self):
    folder = self.get_temp_dir()
    recipe = Recipe("int2_1of4", weight_bits=2, kept_of=(1, 4))
    compressed = compress(self.model, recipe, _batches)
    save_compressed(compressed, _CONFIG, folder)
    again, config = load_compressed(folder)
    self.assertEqual(config, _CONFIG)
    self.assertEqual(again.recipe, recipe)
    self.assertEqual(again.bits_by_layer, compressed.bits_by_layer)
    self.assertEqual(again.pruned_layers, compressed.pruned_layers)
    for old, new in zip(
      compressed.model.weights, again.model.weights, strict=True
    ):
      self.assertAllEqual(old, new)
    path = os.path.join(folder, "recipe.json")
    with open(path) as file:
      values = json.load(file)
    for damage in ({"recipe": {}}, {"bits_by_layer": {"no/such": 4}}):
      with open(path, "w") as file:
        json.dump({**values, **damage}, file)
      with self.assertRaisesRegex(InputError, "compress the model again"):
        load_compressed(folder)
    os.unlink(path)
    with self.assertRaisesRegex(InputError, "found no file"):
      load_compressed(folder)

  def test_weights_that_are_no_numbers_are_named(self):
    broken = tf.keras.models.clone_model(self.model)
    bias = broken.get_layer("ctc/logits").bias
    bias.assign(tf.fill(bias.shape, np.nan))
    with self.assertRaisesRegex(InputError, "ctc/logits/bias"):
      compress(broken, Recipe("int8", weight_bits=8), _no_batches)


if __name__ == "__main__":
  tf.test.main()

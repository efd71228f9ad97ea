"""Compression: plain Keras in, plain Keras on the grid out."""

import itertools
import json
import os

import numpy as np
import tensorflow as tf

from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.quantization.grid import find_grid, search_clips, short_floats
from lingvo_lite.stage.errors import InputError
from tflite_export.compress import check_fits, compress
from tflite_export.compressed_file import load_compressed, save_compressed
from tflite_export.pruning.mask_schedule import keep_largest
from tflite_export.pruning.n_of_m import check_kept_of, prune
from tflite_export.qat.quantizers import (
  KernelRule,
  MaskedGridQuantizer,
  kernel_of,
  leaf_name,
  quantize_aware,
)
from tflite_export.recipes import Recipe
from tflite_export.sensitivity import Choice
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
      self.assertAllEqual(grid.values, kernel, msg=name)
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
        if bits and "kernel" in weight.name:
          clips = search_clips(weight.numpy(), bits)
          expected = find_grid(weight.numpy(), bits, clips).values
        else:
          expected = short_floats(weight)
        self.assertAllEqual(found, expected)
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
    expand, depthwise = "block_00/ffn_start/expand", "block_00/conv/depthwise"
    rules = {expand: KernelRule(4), depthwise: KernelRule(8)}
    mask = keep_largest(self.model.get_layer(expand).kernel, (2, 4))
    wrapped = quantize_aware(self.model, rules, {expand: mask.numpy()})
    plain = strip(wrapped, self.model, rules)
    batch = next(_batches())
    inputs = [batch["features"], batch["lengths"]]
    for layer in wrapped.layers:  # Training does not round these.
      for weight in layer.trainable_weights:
        if layer.name not in rules or leaf_name(weight) == "bias":
          weight.assign(short_floats(weight))
    self.assertAllClose(wrapped(inputs), plain(inputs), atol=1e-5)
    check_kept_of(plain.get_layer(expand).kernel.numpy(), (2, 4), expand)
    self.assertNotAllClose(self.model(inputs), plain(inputs), atol=1e-5)
    self.assertEqual(
      [w.name for w in plain.weights], [w.name for w in self.model.weights]
    )
    # The two clips are trained too.
    self.assertLen(wrapped.trainable_variables, len(self.model.weights) + 2)

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

  def test_dropped_weights_come_back_and_sparsity_stays(self):
    recipe = Recipe(
      "int4_2of4",
      weight_bits=4,
      kept_of=(2, 4),
      fine_tune_steps=8,
      learning_rate=0.03,
      mask_updates=4,
      mask_update_every=2,
      dropped_decay=2e-4,
    )
    compressed = compress(self.model, recipe, _batches)
    self.assertLen(compressed.mask_churn, 3)
    self.assertGreater(max(compressed.mask_churn), 0.0)
    for name in compressed.pruned_layers:
      kernel = kernel_of(compressed.model.get_layer(name)).numpy()
      check_kept_of(find_grid(kernel, 4).integers, (2, 4), name)
    # With plain gradients a dropped weight sees none.
    kernel = self.model.get_layer("ctc/logits").kernel
    mask = {"ctc/logits": keep_largest(kernel, (2, 4)).numpy()}
    batch = next(_batches())
    for decay in (0.0, 0.5):
      rules = {"ctc/logits": KernelRule(None, dropped_decay=decay)}
      wrapped = quantize_aware(self.model, rules, mask)
      raw = wrapped.get_layer("ctc/logits").trainable_variables
      raw = next(weight for weight in raw if leaf_name(weight) == "kernel")
      with tf.GradientTape() as tape:
        logits = wrapped([batch["features"], batch["lengths"]])
        loss = tf.reduce_sum(logits[..., 0])
      dropped = tape.gradient(loss, raw)[mask["ctc/logits"] == 0]
      self.assertEqual(bool(tf.reduce_any(dropped != 0)), decay > 0)

  def test_noise_is_in_the_training_alone_and_the_same_each_time(self):
    name = "block_00/conv/expand"
    mask = keep_largest(self.model.get_layer(name).kernel, (2, 4)).numpy()
    batch = next(_batches())
    inputs = [batch["features"], batch["lengths"]]
    outputs = {}
    for noise in (0.0, 0.1, 0.1):
      rules = {name: KernelRule(None, noise=noise)}
      wrapped = quantize_aware(self.model, rules, {name: mask})
      step = tf.function(lambda inputs, wrapped=wrapped: wrapped(inputs))
      outputs.setdefault(noise, []).append([step(inputs), step(inputs)])
      plain = strip(wrapped, self.model, rules).get_layer(name).kernel
      self.assertAllEqual(plain, self.model.get_layer(name).kernel * mask)
    self.assertAllEqual(*outputs[0.0][0])
    self.assertNotAllClose(*outputs[0.1][0], atol=1e-4)
    self.assertAllEqual(*outputs[0.1])

  def test_noise_leaves_dropped_weights_alone(self):
    rule = KernelRule(None, noise=0.5)
    dense = tf.keras.layers.Dense(3, use_bias=False)
    dense.build([None, 4])
    quantizer = MaskedGridQuantizer(rule)
    weights = quantizer.build(dense.kernel.shape, "kernel", dense)
    mask = np.array([1, 0, 1, 0], np.float32)[:, np.newaxis]
    weights["mask"].assign(mask * np.ones([4, 3]))
    found = quantizer(dense.kernel, True, weights)
    self.assertAllEqual(found.numpy()[1::2], np.zeros([2, 3]))
    self.assertNotAllClose(found, dense.kernel * mask, atol=1e-3)

  def test_pruned_weights_may_stay_float(self):
    recipe = Recipe("float32_1of4", kept_of=(1, 4))
    compressed = compress(self.model, recipe, _batches)
    self.assertEmpty(compressed.bits_by_layer)
    for name in compressed.pruned_layers:
      check_kept_of(
        kernel_of(compressed.model.get_layer(name)).numpy(), (1, 4), name
      )

  def test_layers_that_bear_less_keep_more(self):
    recipe = Recipe("mixed", mean_bits=4.0, kept_of=(2, 4))
    compressed = compress(self.model, recipe, lambda: [next(_batches())])
    self.assertLen(compressed.bits_by_layer, 16)
    self.assert_on_grid(compressed.model, compressed.bits_by_layer)
    self.assertGreater(len(set(compressed.bits_by_layer.values())), 1)
    bits, weights = 0.0, 0
    for layer in self.model.layers:
      if not isinstance(layer, tf.keras.layers.Dense):
        continue
      pruned = layer.name in compressed.pruned_layers
      choice = Choice(
        compressed.bits_by_layer[layer.name], (2, 4) if pruned else None
      )
      bits += choice.bits_a_weight * layer.kernel.shape.num_elements()
      weights += layer.kernel.shape.num_elements()
    self.assertLessEqual(bits, 4.0 * weights)

  def test_a_budget_that_prunes_nothing_has_no_masks_to_choose_anew(self):
    recipe = Recipe(
      "mixed",
      mean_bits=8.0,
      kept_of=(2, 4),
      fine_tune_steps=3,
      mask_updates=2,
    )
    compressed = compress(self.model, recipe, _batches)
    self.assertEmpty(compressed.pruned_layers)
    self.assertEmpty(compressed.mask_churn)

  def test_another_teacher_is_imitated(self):
    recipe = Recipe("int8", weight_bits=8, fine_tune_steps=1)
    own = compress(self.model, recipe, _batches)
    teacher = build_ctc_model(_CONFIG, seed=1)
    other = compress(self.model, recipe, _batches, teacher)
    # Its own answers are near already.
    self.assertLess(own.losses[0], 1e-2)
    self.assertGreater(other.losses[0], 10 * own.losses[0])

  def test_a_recipe_knows_whether_it_needs_speech(self):
    for fields in (
      {},
      {"weight_bits": 8},
      {"mean_bits": 4.0},
      {"kept_of": (2, 4)},
      {"weight_bits": 4, "fine_tune_steps": 1},
    ):
      recipe = Recipe("x", **fields)
      asked = False
      try:
        compress(self.model, recipe, _no_batches)
      except AssertionError:
        asked = True
      self.assertEqual(recipe.needs_speech, asked, fields)

  def test_transcripts_may_be_the_target(self):
    batch = dict(next(_batches()))
    batch["labels"] = tf.constant([[3, 4, 5], [6, 0, 0]])
    batch["label_lengths"] = tf.constant([3, 1])
    recipe = Recipe(
      "int4",
      weight_bits=4,
      fine_tune_steps=10,
      learning_rate=0.02,
      transcript_fraction=1.0,
    )
    compressed = compress(self.model, recipe, lambda: itertools.repeat(batch))
    self.assertLess(compressed.losses[-1], 0.8 * compressed.losses[0])

  def test_weights_that_are_no_numbers_are_named(self):
    broken = tf.keras.models.clone_model(self.model)
    bias = broken.get_layer("ctc/logits").bias
    bias.assign(tf.fill(bias.shape, np.nan))
    with self.assertRaisesRegex(InputError, "ctc/logits/bias"):
      compress(broken, Recipe("int8", weight_bits=8), _no_batches)

  def test_a_layer_that_no_file_can_hold_is_named(self):
    hidden = self.model.output
    logits = tf.keras.layers.Dense(29, name="second/logits")(hidden)
    known = tf.keras.Model(self.model.inputs, logits)
    check_fits(known, Recipe("float32"))
    logits = tf.keras.layers.LSTM(29, return_sequences=True, name="ctc/memory")(
      hidden
    )
    for recipe in (Recipe("float32"), Recipe("int4", weight_bits=4)):
      with self.assertRaisesRegex(InputError, "ctc/memory of the kind LSTM"):
        compress(tf.keras.Model(self.model.inputs, logits), recipe, _no_batches)
    logits = tf.keras.layers.Dense(29, "softsign", name="ctc/odd")(hidden)
    with self.assertRaisesRegex(InputError, "'softsign' of the layer ctc/odd"):
      check_fits(tf.keras.Model(self.model.inputs, logits), Recipe("float32"))

  def test_a_recipe_that_does_not_fit_is_told_before_any_speech_is_read(self):
    broken = tf.keras.models.clone_model(self.model)
    broken.set_weights(self.model.get_weights())
    kernel = broken.get_layer("block_00/conv/depthwise").depthwise_kernel
    kernel.assign(kernel * np.array([1, 1, 0, 1, 1, 1, 1, 1])[:, np.newaxis])
    with self.assertRaisesRegex(InputError, "channel 2 of block_00/conv/depth"):
      compress(broken, Recipe("int8", weight_bits=8), _no_batches)
    with self.assertRaisesRegex(InputError, "width 40 of subsampling/project"):
      recipe = Recipe("x", weight_bits=4, kept_of=(2, 16))
      compress(self.model, recipe, _no_batches)
    with self.assertRaisesRegex(InputError, "found no speech"):
      compress(self.model, Recipe("x", weight_bits=4, kept_of=(2, 4)), list)
    with self.assertRaisesRegex(InputError, "found 0 batches"):
      compress(self.model, Recipe("x", weight_bits=4, fine_tune_steps=3), list)


if __name__ == "__main__":
  tf.test.main()

"""One set of weights at several sparsities: masks, steps and files."""

import dataclasses
import os
import tempfile

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from lingvo_lite.dynamic_sparsity.block_masks import (
  block_ranks,
  find_block_layers,
  kept_blocks,
  weight_mask,
)
from lingvo_lite.dynamic_sparsity.dynamic_model import (
  LEVELS,
  load_dynamic,
  save_dynamic,
)
from lingvo_lite.dynamic_sparsity.levels import SparsityLevels
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import write_json
from lingvo_lite.training.ctc_objective import ctc_objective
from tflite_export.dynamic_sparsity.layer_sparsity import (
  read_deltas,
  sparsity_by_importance,
  uniform_sparsity,
)
from tflite_export.dynamic_sparsity.level_signature import level_signature
from tflite_export.dynamic_sparsity.ramp import CubicRamp
from tflite_export.dynamic_sparsity.training import (
  DynamicTraining,
  prune_dynamic,
  train_dynamic,
)

_CONFIG = ConformerConfig(
  num_blocks=1,
  d_model=32,
  ffn_units=64,
  num_heads=2,
  conv_kernel_size=3,
  subsampling_channels=4,
  norm_groups=2,
  dropout_rate=0.0,
)
_LEVELS = SparsityLevels((0.0, 0.5, 0.8))


def _batches(count=1000):
  rng = np.random.default_rng(0)
  batch = {
    "features": tf.constant(rng.normal(size=[2, 48, 80]), tf.float32),
    "lengths": tf.constant([48, 40]),
    "labels": tf.constant(rng.integers(0, 28, [2, 4]), tf.int32),
    "label_lengths": tf.constant([4, 3]),
  }
  return [batch] * count


def _model(seed=0):
  tf.keras.utils.set_random_seed(seed)
  return build_ctc_model(_CONFIG)


def _uniform(model, levels):
  return uniform_sparsity(find_block_layers(model, levels.block).sparse, levels)


class LevelsTest(parameterized.TestCase):
  @parameterized.parameters(
    ((), "one or more"),
    ((0.5, 0.5), "increasing"),
    ((0.8, 0.5), "increasing"),
    ((0.0, 1.0), r"\[0, 1\)"),
    ((-0.1, 0.5), r"\[0, 1\)"),
    ((0.0, float("nan")), r"\[0, 1\)"),
    ((0.0, 0.505), "whole percents"),
  )
  def test_bad_ladders(self, sparsities, message):
    with self.assertRaisesRegex(InputError, message):
      SparsityLevels(sparsities)

  def test_bad_block(self):
    with self.assertRaisesRegex(InputError, "blocks of 0"):
      SparsityLevels(block=0)

  def test_a_level_that_there_is_not(self):
    with self.assertRaisesRegex(InputError, r"0.6.*\[0.0, 0.5, 0.8\]"):
      _LEVELS.index(0.6)

  def test_names(self):
    self.assertEqual(level_signature(0.8), "transcribe_s80")
    self.assertEqual(level_signature(0.0), "transcribe_s00")
    self.assertEqual(level_signature(0.07), "transcribe_s07")


class BlockMasksTest(parameterized.TestCase, tf.test.TestCase):
  def test_by_hand(self):
    # Two blocks of two inputs, two outputs; sums 3, 10 and 5, 1.
    kernel = tf.constant([[1.0, -9], [-2, 1], [5, 0], [0, 1]])
    ranks = block_ranks(kernel, 2)
    self.assertAllEqual(ranks, [[1, 3], [2, 0]])
    kept = kept_blocks(ranks, tf.constant(0.5))
    self.assertAllEqual(kept, [[False, True], [True, False]])
    mask = weight_mask(kept, 2)
    self.assertAllEqual(mask, [[0, 1], [0, 1], [1, 0], [1, 0]])

  def test_one_block_stays(self):
    ranks = block_ranks(tf.constant([[1.0], [2.0]]), 1)
    self.assertAllEqual(kept_blocks(ranks, 0.99), [[False], [True]])

  @parameterized.parameters(*range(5))
  def test_sparser_keeps_a_part_of_what_denser_keeps(self, seed):
    rng = np.random.default_rng(seed)
    ranks = block_ranks(tf.constant(rng.normal(size=[64, 24]), tf.float32), 16)
    self.assertCountEqual(ranks.numpy().ravel(), range(4 * 24))
    before = np.ones([4, 24], bool)
    for sparsity in sorted(rng.uniform(size=6)):
      kept = kept_blocks(ranks, tf.constant(sparsity, tf.float32)).numpy()
      self.assertTrue((before | ~kept).all())
      self.assertAlmostEqual(1 - kept.mean(), sparsity, delta=0.5 / 96 + 1e-6)
      before = kept

  def test_what_stays_dense_and_why(self):
    model = _model()
    layers = find_block_layers(model, 64)
    self.assertIn("block_00/ffn_start/contract", layers.sparse)
    why = layers.dense["block_00/ffn_start/expand"]
    self.assertIn("input width 32 is no multiple of the block of 64", why)
    self.assertIn("labels", layers.dense["ctc/logits"])

  def test_a_block_that_fits_nowhere(self):
    with self.assertRaisesRegex(
      InputError, "block_00/ffn_start/expand: its input width 32"
    ):
      find_block_layers(_model(), 48)


class LayerSparsityTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.sizes = {"a/x": 1000, "a/y": 500, "b/x": 2000, "front": 100}
    self.found = sparsity_by_importance(
      self.sizes, SparsityLevels(), {"a": 0.5, "b": 0.01}
    )

  def test_mean_is_the_level(self):
    weights = np.array(list(self.sizes.values()))
    mean = weights @ np.array(list(self.found.values())) / weights.sum()
    np.testing.assert_allclose(mean, SparsityLevels().sparsities, atol=1e-6)

  def test_most_ambient_is_sparsest_and_levels_rise(self):
    self.assertGreater(self.found["b/x"][3], self.found["front"][3])
    self.assertGreater(self.found["front"][3], self.found["a/x"][3])
    self.assertEqual(self.found["a/x"], self.found["a/y"])
    for row in self.found.values():
      self.assertEqual(sorted(row), list(row))
      self.assertAlmostEqual(row[0], 0.0)

  def test_importances_of_another_model(self):
    with self.assertRaisesRegex(InputError, "another model"):
      sparsity_by_importance(self.sizes, SparsityLevels(), {"c": 0.5})

  def test_reads_groups_alone(self):
    path, values = self._importance()
    deltas = {name: 0.25 for name in _CONFIG.full_units()}
    self.assertEqual(read_deltas(path, _CONFIG, "a" * 64), deltas)
    for damaged in (
      {},
      {**values, "rows": [{"group": "a"}]},
      {**values, "rows": []},
      {name: values[name] for name in ("schema_version", "rows")},
    ):
      write_json(path, {"schema_version": 1, **damaged})
      with self.assertRaises(InputError):
        read_deltas(path, _CONFIG, "a" * 64)

  def test_reads_no_importances_of_another_model(self):
    # A file of `tiny_deep` has all the groups of `tiny`, and more.
    deep = dataclasses.replace(_CONFIG, num_blocks=2)
    path, values = self._importance(deep)
    with self.assertRaisesRegex(InputError, "num_blocks 2, expected 1"):
      read_deltas(path, _CONFIG, "a" * 64)
    write_json(path, {**values, "model": _CONFIG.to_dict()})
    with self.assertRaisesRegex(InputError, "other width groups.* block_01/"):
      read_deltas(path, _CONFIG, "a" * 64)
    path, values = self._importance()
    write_json(path, {**values, "rows": values["rows"][1:]})
    with self.assertRaisesRegex(InputError, "without block_00/ffn_start, .* 4"):
      read_deltas(path, _CONFIG, "a" * 64)
    path, _ = self._importance()
    with self.assertRaisesRegex(InputError, "checkpoint.* aaa.*, expected bbb"):
      read_deltas(path, _CONFIG, "b" * 64)

  def _importance(self, config=_CONFIG):
    """Writes what //fl:importance does; returns its path and its values."""
    path = os.path.join(self.create_tempdir(), "importance.json")
    values = {
      "schema_version": 1,
      "model": config.to_dict(),
      "model_sha256": "a" * 64,
      "rows": [
        *(
          {"group": name, "kind": "group", "delta": 0.25}
          for name in config.full_units()
        ),
        {"group": "all", "kind": "joint", "delta": 2.0},
      ],
    }
    write_json(path, values)
    return path, values


class RampTest(parameterized.TestCase):
  @parameterized.parameters(
    (0, True, 0.0),
    (20, True, 0.875),
    (25, False, 1 - 0.375**3),
    (40, True, 1.0),
  )
  def test_by_hand(self, step, due, reached):
    found = CubicRamp(40, 10)(step)
    self.assertEqual(found[0], due)
    self.assertAlmostEqual(found[1], reached, places=5)

  def test_masks_are_frozen_after_it(self):
    self.assertEqual(CubicRamp(40, 10)(50), (False, 1.0))


class TrainingTest(tf.test.TestCase):
  def test_dense_alone_is_plain_training(self):
    model, levels = _model(), SparsityLevels((0.0,))
    config = DynamicTraining(steps=2, learning_rate=1e-2, mask_every=1)
    trained = train_dynamic(
      model, levels, _uniform(model, levels), config, _batches()
    )
    optimizer = tf.keras.optimizers.Adam(1e-2, global_clipnorm=1.0)
    for found in trained.losses:
      with tf.GradientTape() as tape:
        loss = ctc_objective(model, _batches()[0])
      self.assertAllClose(found, loss, rtol=1e-3)
      optimizer.minimize(loss, model.trainable_variables, tape=tape)
    for found, expected in zip(
      trained.model.get_weights(), model.get_weights(), strict=True
    ):
      # Adam's first step is the sign of the gradient: tiny ones may differ.
      self.assertAllClose(np.median(np.abs(found - expected)), 0, atol=1e-4)

  def test_trains_all_levels_and_keeps_them_nested(self):
    model = _model()
    config = DynamicTraining(steps=40, learning_rate=3e-3, mask_every=5)
    before = prune_dynamic(model, _LEVELS, _uniform(model, _LEVELS))
    dynamic = train_dynamic(
      model, _LEVELS, _uniform(model, _LEVELS), config, _batches()
    )
    for sparsity in _LEVELS.sparsities:
      loss = ctc_objective(dynamic.at(sparsity), _batches()[0])
      untrained = ctc_objective(before.at(sparsity), _batches()[0])
      self.assertLess(float(loss), 0.7 * float(untrained))
      self.assertAllClose(dynamic.found_sparsity(sparsity), sparsity, atol=0.01)
    kept = [dynamic.kept("block_00/conv/expand", s) for s in (0.0, 0.5, 0.8)]
    self.assertTrue(kept[0].all())
    self.assertTrue((kept[1] | ~kept[2]).all())
    with self.assertRaisesRegex(InputError, "0.7"):
      dynamic.at(0.7)

  def test_a_level_drops_whole_blocks_and_shares_the_rest(self):
    model = _model()
    dynamic = prune_dynamic(model, _LEVELS, _uniform(model, _LEVELS))
    name = "block_00/ffn_end/contract"
    full = dynamic.model.get_layer(name).kernel.numpy()
    masked = dynamic.at(0.8).get_layer(name).kernel.numpy()
    blocks = masked.reshape(-1, 16, masked.shape[-1])
    zero = (blocks == 0).all(1)
    self.assertAllClose(zero.mean(), 0.8, atol=0.01)
    self.assertAllEqual(masked[masked != 0], full[masked != 0])

  def test_passes_of_a_step(self):
    config = DynamicTraining(sampled_levels=2)
    self.assertEqual(config.passes(SparsityLevels((0.5,))), 1)
    self.assertEqual(config.passes(SparsityLevels((0.0, 0.5))), 2)
    self.assertEqual(config.passes(_LEVELS), 3)
    self.assertEqual(config.passes(SparsityLevels()), 4)

  def test_bad_training(self):
    for fields in (
      {"steps": 0},
      {"mask_every": 0},
      {"sampled_levels": -1},
      {"ramp_fraction": 1.0},
      {"steps": 10, "mask_every": 10},
    ):
      with self.assertRaisesRegex(InputError, next(iter(fields))):
        DynamicTraining(**fields)

  def test_file_round_trip(self):
    model = _model()
    dynamic = prune_dynamic(model, _LEVELS, _uniform(model, _LEVELS))
    with tempfile.TemporaryDirectory() as folder:
      save_dynamic(dynamic, _CONFIG, folder)
      read, config = load_dynamic(folder)
      self.assertEqual(config, _CONFIG)
      self.assertEqual(read.levels, _LEVELS)
      for name, kept in dynamic.kept_levels.items():
        self.assertAllEqual(read.kept_levels[name], kept)
      path = os.path.join(folder, LEVELS)
      write_json(
        path,
        {
          "schema_version": 1,
          "levels": {"sparsities": [0.0, 0.5], "block": 16},
          "kept_levels": {"block_00/conv/expand": "AAAA"},
        },
      )
      with self.assertRaisesRegex(InputError, "damaged"):
        load_dynamic(folder)


if __name__ == "__main__":
  absltest.main()

"""Clients train all levels of a ladder at once."""

import collections
import functools
import os

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
from absl.testing import absltest

from fl.dropout.plan import plan_of
from fl.dropout.selection import RandomUnits
from fl.dropout.sub_model import SubModel, flatten, unflatten, variable_specs
from fl.dropout.tiers import one_tier
from fl.ladder import Ladder
from fl.processes.client_work import LocalTraining
from fl.processes.compose import build_federated_process
from fl.runtime.local import local_runtime
from lingvo_lite.dynamic_sparsity.block_masks import (
  block_ranks,
  find_block_layers,
  kept_blocks,
)
from lingvo_lite.dynamic_sparsity.dynamic_model import DynamicModel
from lingvo_lite.dynamic_sparsity.levels import SparsityLevels
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.unit_groups import unit_groups
from lingvo_lite.stage.errors import InputError
from lingvo_lite.training.ctc_objective import ctc_objective

_CONFIG = ConformerConfig(
  num_blocks=1, d_model=32, ffn_units=64, num_heads=2, conv_kernel_size=5,
  subsampling_channels=4, norm_groups=4, dropout_rate=0.0,
)  # fmt: skip
_RATE = 0.1


def _dynamic(model, sparsities):
  levels = SparsityLevels(sparsities)
  layers = find_block_layers(model, levels.block)
  kept = {}
  for name in layers.sparse:
    ranks = block_ranks(model.get_layer(name).kernel, levels.block)
    kept[name] = np.sum(
      [kept_blocks(ranks, tf.constant(s)).numpy() for s in sparsities], 0
    ).astype(np.uint8)
  return DynamicModel(model, levels, kept, layers.dense)


def _batch():
  draw = np.random.default_rng(0)
  return collections.OrderedDict(
    features=draw.normal(size=[2, 40, 80]).astype(np.float32),
    label_lengths=np.array([3, 3], np.int32),
    labels=draw.integers(1, 20, [2, 3], np.int32),
    lengths=np.array([40, 40], np.int32),
  )


class LadderTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    tf.keras.utils.set_random_seed(0)
    self.model = build_ctc_model(_CONFIG)
    self.specs = variable_specs(self.model)

  def ladder(self, sparsities):
    dynamic = _dynamic(self.model, sparsities)
    return dynamic, Ladder(dynamic)

  def test_weights_at_a_level_are_those_of_the_model_at_it(self):
    dynamic, ladder = self.ladder((0.0, 0.5, 0.8))
    weights = flatten(self.model.trainable_variables).numpy()
    for sparsity in dynamic.levels.sparsities:
      expected = flatten(dynamic.at(sparsity).trainable_variables).numpy()
      found = ladder.weights_at(sparsity, weights, self.specs)
      np.testing.assert_array_equal(found, expected)
    rates = ladder.measure_levels(
      weights, self.specs, lambda each: {"zeros": float(np.mean(each == 0))}
    )
    self.assertEqual(list(rates), ["s00", "s50", "s80"])
    self.assertLess(rates["s50"]["zeros"], rates["s80"]["zeros"])

  def test_a_dense_ladder_has_the_gradients_of_the_objective(self):
    _, ladder = self.ladder((0.0,))
    batch = {k: tf.constant(v) for k, v in _batch().items()}
    loss, gradients = ladder.gradients(self.model, batch, tf.constant([0, 1]))
    with tf.GradientTape() as tape:
      expected = ctc_objective(self.model, batch)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    for one, other in zip(
      gradients,
      tape.gradient(expected, self.model.trainable_variables),
      strict=True,
    ):
      np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)

  def test_the_level_between_is_drawn_from_the_seed(self):
    _, ladder = self.ladder((0.0, 0.5, 0.7, 0.9))
    batch = {k: tf.constant(v) for k, v in _batch().items()}
    losses = [
      float(ladder.gradients(self.model, batch, tf.constant([0, seed]))[0])
      for seed in (1, 1, 2, 3, 4, 5)
    ]
    self.assertEqual(losses[0], losses[1])
    # Of two levels: six equal draws would be no draw.
    self.assertLen(set(losses), 2)

  def test_what_no_level_keeps_does_not_move_in_a_round(self):
    # Levels of half and more: the densest drops blocks too.
    _, ladder = self.ladder((0.5, 0.8))
    before = flatten(self.model.trainable_variables).numpy()
    update = self.round_update(ladder, before)
    moved = unflatten(tf.constant(update), [s.shape for s in self.specs])
    for spec, values in zip(self.specs, moved, strict=True):
      kept = ladder.dynamic.kept_levels.get(spec.name.removesuffix("/kernel:0"))
      if kept is None:
        continue
      mask = np.repeat(kept > 0, ladder.dynamic.levels.block, axis=0)
      self.assertTrue(np.all(values.numpy()[~mask] == 0), spec.name)
      self.assertTrue(np.any(values.numpy()[mask] != 0), spec.name)

  def test_a_client_takes_the_server_s_step(self):
    _, ladder = self.ladder((0.0, 0.8))
    before = flatten(self.model.trainable_variables).numpy()
    batch = {k: tf.constant(v) for k, v in _batch().items()}
    # With two levels there is nothing to draw.
    _, gradients = ladder.gradients(self.model, batch, tf.constant([0, 0]))
    np.testing.assert_allclose(
      self.round_update(ladder, before),
      _RATE * flatten(gradients).numpy(),
      rtol=1e-3,
      atol=1e-5,
    )

  def round_update(self, ladder, weights):
    """Returns how far one client of one batch moves the server's weights."""
    process = build_federated_process(
      self.specs,
      one_tier(RandomUnits(SubModel(self.specs, [], {}), 0, "client"), 1),
      [
        LocalTraining(
          functools.partial(build_ctc_model, _CONFIG),
          ctc_objective,
          tff.learning.optimizers.build_sgdm(_RATE),
          lambda number: tf.constant(_RATE),
          clip_norm=None,
          seed=0,
          gradients=ladder.gradients,
        )
      ],
      collections.OrderedDict(
        features=tf.TensorSpec([None, None, 80], tf.float32),
        label_lengths=tf.TensorSpec([None], tf.int32),
        labels=tf.TensorSpec([None, None], tf.int32),
        lengths=tf.TensorSpec([None], tf.int32),
      ),
      tff.learning.optimizers.build_sgdm(1.0),
      lambda number: tf.constant(1.0),
    )
    with local_runtime():
      state = process.initialize()._replace(global_model_weights=weights)
      client = collections.OrderedDict(
        client=np.array([0], np.int32),
        batches=tf.data.Dataset.from_tensors(_batch()),
      )
      after = process.next(state, [client]).state.global_model_weights
    return weights - after

  def test_a_plan_of_sub_models_is_refused(self):
    _, ladder = self.ladder((0.0, 0.8))
    groups = unit_groups(_CONFIG)
    whole, half = (
      plan_of(_CONFIG.to_dict(), self.specs, groups, kept, "ranked")
      for kept in ({}, {"block_00/ffn_start": 32})
    )
    ladder.check([whole])
    with self.assertRaisesRegex(InputError, "without --plan"):
      ladder.check([whole, half])

  def test_reads_what_it_saves(self):
    dynamic, ladder = self.ladder((0.0, 0.5))
    folder = self.create_tempdir().full_path
    ladder.save(self.model, _CONFIG, folder)
    again = Ladder.read(folder)
    self.assertEqual(again.dynamic.levels, dynamic.levels)
    for name, kept in ladder.dynamic.kept_levels.items():
      np.testing.assert_array_equal(again.dynamic.kept_levels[name], kept)
    os.remove(Ladder.path(folder))
    with self.assertRaisesRegex(InputError, "dynamic_sparsity.json"):
      Ladder.read(folder)


if __name__ == "__main__":
  absltest.main()

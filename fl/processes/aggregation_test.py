"""Ways of averaging, against arithmetic by hand."""

import collections

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from fl.dropout.selection import RandomUnits
from fl.dropout.sub_model import SubModel, VariableSpec
from fl.dropout.tiers import one_tier
from fl.privacy.privacy_config import PrivacyConfig
from fl.processes.aggregation import (
  AggregationConfig,
  build_chosen_aggregator,
  upload_values_bytes,
)
from fl.processes.messages import ClientMessage
from fl.processes.order_aggregator import trimmed_mean
from fl.runtime.local import local_runtime
from lingvo_lite.models.unit_groups import UnitGroup, UnitSlice
from lingvo_lite.stage.errors import InputError

_GROUP = UnitGroup("hidden", 8, (UnitSlice("w:0", 0),))


def _selection(kept=8, scope="round", size=8):
  specs = [VariableSpec("w:0", (size,))]
  groups = [_GROUP] if size == 8 else []
  counts = {"hidden": kept} if groups else {}
  return RandomUnits(SubModel(specs, groups, counts), 3, scope)


def _alike(selection):
  return one_tier(selection, 6)


def _messages(updates, weights=None, round_number=0):
  weights = weights or [1.0] * len(updates)
  return [
    ClientMessage(
      np.asarray(update, np.float32),
      np.float32(weight),
      np.float32(0),
      np.int32(round_number),
      np.int32(client),
    )
    for client, (update, weight) in enumerate(
      zip(updates, weights, strict=True)
    )
  ]


class TrimmedMeanTest(tf.test.TestCase):
  def test_by_hand(self):
    values = np.array([[1, 5], [2, 1], [9, 3], [4, 7]], np.float32)
    everyone = np.ones([4, 2], bool)
    # A quarter of four is one at either end: (2 + 4) / 2 and (3 + 5) / 2.
    self.assertAllEqual(trimmed_mean(values, everyone, 0.25), [3, 4])
    # Less than one value: nothing is left out.
    self.assertAllEqual(trimmed_mean(values, everyone, 0.2), [4, 4])
    self.assertAllEqual(trimmed_mean(values, everyone, 0.5), [3, 4])
    held = np.array([[1, 0], [1, 0], [1, 0], [0, 0]], bool)
    self.assertAllEqual(trimmed_mean(values, held, 0.5), [2, 0])

  def test_is_numpys_median_of_random_values(self):
    draw = np.random.default_rng(0)
    for clients in (1, 2, 5, 16):
      values = draw.normal(size=[clients, 7]).astype(np.float32)
      self.assertAllClose(
        trimmed_mean(values, np.ones_like(values, bool), 0.5),
        np.median(values, 0),
      )


class AggregationTest(parameterized.TestCase, tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.enterClassContext(local_runtime())

  def next(self, process, messages, state=None):
    return process.next(state or process.initialize(), messages)

  @parameterized.parameters("trimmed_mean", "median")
  def test_one_liar_among_five_moves_little(self, rule):
    config = AggregationConfig(rule=rule, trim_fraction=0.25)
    process = build_chosen_aggregator(_alike(_selection()), config, 5)
    honest = np.random.default_rng(0).normal(size=[4, 8]).astype(np.float32)
    lie = np.full([1, 8], 1e6, np.float32)
    turned_down = np.zeros([1, 8], np.float32)
    updates = np.concatenate([honest, lie, turned_down])
    output = self.next(process, _messages(updates, [1, 9, 1, 1, 99, 0]))
    self.assertAllInRange(output.result.update - np.max(honest, 0), -10, 1e-6)
    expected = np.sort(updates[:5], 0)[1:4]
    expected = expected.mean(0) if rule == "trimmed_mean" else expected[1]
    self.assertAllClose(output.result.update, expected)

  def test_the_median_of_sub_models_is_over_those_who_held_a_weight(self):
    selection = _selection(kept=4, scope="client")
    process = build_chosen_aggregator(
      _alike(selection), AggregationConfig(rule="median"), 5
    )
    updates = np.random.default_rng(1).normal(size=[5, 4]).astype(np.float32)
    output = self.next(process, _messages(updates))
    held = collections.defaultdict(list)
    for client, update in enumerate(updates):
      units = selection.units(tf.constant(0), tf.constant(client))
      where = selection.sub_model.indices(units).numpy()
      for place, value in zip(where, update, strict=True):
        held[place].append(value)
    expected = [np.median(held[i]) if i in held else 0.0 for i in range(8)]
    self.assertAllClose(output.result.update, expected)
    self.assertAllEqual(output.result.held, [i in held for i in range(8)])

  def test_secure_sums_and_compression_are_close_to_the_mean(self):
    draw = np.random.default_rng(2)
    updates = draw.normal(scale=0.1, size=[3, 30000]).astype(np.float32)
    weights = [1.0, 2.0, 5.0]
    expected = np.average(updates, 0, weights)
    selection = _selection(size=30000)
    for config, atol in (
      (AggregationConfig(secure=True), 1e-3),
      # 256 levels over each update's range of about 0.8, times its weight.
      (AggregationConfig(compressed=True), 5e-3),
    ):
      process = build_chosen_aggregator(_alike(selection), config, 3)
      output = self.next(process, _messages(updates, weights))
      self.assertAllClose(output.result.update, expected, atol=atol)
      self.assertNotAllEqual(output.result.update, expected)
    # A byte a value, and the range.
    self.assertEqual(
      upload_values_bytes(AggregationConfig(compressed=True), 30000), 30008
    )
    self.assertEqual(upload_values_bytes(AggregationConfig(), 30000), 120000)

  def test_private_rounds_on_sub_models_clip_and_noise_the_sub_model(self):
    selection = _selection(kept=4, scope="round")
    where = selection.sub_model.indices(
      selection.units(tf.constant(0), tf.constant(0))
    ).numpy()
    # Norms 10 and 0.5 on the sub-model's four values, clipped to 1; divided by
    # the four clients that were expected, though two came.
    updates = np.array([[10, 0, 0, 0], [0, 0.5, 0, 0]], np.float32)
    config = AggregationConfig(
      privacy=PrivacyConfig("gaussian", 1e-6, clip_norm=1.0)
    )
    process = build_chosen_aggregator(_alike(selection), config, 4)
    update = self.next(process, _messages(updates)).result.update
    expected = np.zeros(8)
    expected[where[:2]] = [0.25, 0.125]
    self.assertAllClose(update, expected, atol=1e-4)

    # With z = 2, each held value has noise of z C / 4 = 0.5, no other has any.
    config = AggregationConfig(
      privacy=PrivacyConfig("gaussian", 2.0, clip_norm=1.0)
    )
    process = build_chosen_aggregator(_alike(selection), config, 4)
    results = [self.next(process, _messages(updates)).result for _ in range(30)]
    unheld = np.setdiff1d(np.arange(8), where)
    noise = np.array([r.update for r in results]) - expected
    self.assertAllEqual(noise[:, unheld], np.zeros([30, 4]))
    self.assertAllEqual(results[0].held, np.isin(np.arange(8), where))
    # 120 draws: the standard deviation of their deviation is 0.5 / sqrt(240).
    self.assertAllClose(noise[:, where].std(), 0.5, atol=0.13)

  def test_a_clipped_mean_leaves_a_wild_update_out(self):
    process = build_chosen_aggregator(
      _alike(_selection()), AggregationConfig(rule="clipped_mean"), 3
    )
    updates = np.full([3, 8], 0.01, np.float32)
    updates[2] = 1e5
    output = self.next(process, _messages(updates))
    self.assertAllClose(output.result.update, np.full(8, 0.02 / 3))

  def test_an_adaptive_clipping_norm_follows_the_median(self):
    # Norms 1, 2, 3, 9, and noise of next to nothing. A cohort of this size is
    # too small for TFF's own choice of noise on the count of those clipped.
    updates = np.zeros([4, 8], np.float32)
    updates[range(4), range(4)] = [1, 2, 3, 9]
    config = AggregationConfig(
      privacy=PrivacyConfig("adaptive_gaussian", 1e-4, clip_norm=0.5)
    )
    process = build_chosen_aggregator(_alike(_selection()), config, 4)
    state = None
    for number in range(40):
      output = self.next(process, _messages(updates), state)
      state = output.state
      if number == 0:
        # All are clipped to the first norm; the mean is over four.
        self.assertAllClose(
          output.result.update, [0.125] * 4 + [0] * 4, atol=1e-3
        )
    clipped = 4 * output.result.update[:4]
    # Half of the norms are below it: those are as they were.
    self.assertAllClose(clipped[:2], [1, 2], atol=0.01)
    self.assertBetween(clipped[3], 2, 3)
    self.assertAllClose(clipped[2], clipped[3], atol=0.01)

  def test_adaptive_noise_makes_up_for_the_count_of_those_clipped(self):
    # 1 / z^2 = 1 / z'^2 + 1 / (2 s)^2, with s = z for so few: z' = z 2 / sqrt 3
    # (Andrew et al. 2021, theorem 1). In a round, z' C / 4 on each value.
    config = AggregationConfig(
      privacy=PrivacyConfig("adaptive_gaussian", 1.0, clip_norm=3.0)
    )
    process = build_chosen_aggregator(_alike(_selection(size=3000)), config, 4)
    output = self.next(process, _messages(np.zeros([1, 3000], np.float32)))
    self.assertAllClose(
      np.std(output.result.update), 3.0 / 4 * 2 / np.sqrt(3), rtol=0.06
    )

  def test_the_noise_of_a_tree_cancels_from_round_to_round(self):
    config = AggregationConfig(
      privacy=PrivacyConfig("tree", 1.0, clip_norm=4.0)
    )
    process = build_chosen_aggregator(_alike(_selection(size=20000)), config, 4)
    updates = np.zeros([2, 20000], np.float32)
    updates[:, 0] = 1000.0
    state, results = None, []
    for _ in range(4):
      output = self.next(process, _messages(updates), state)
      state = output.state
      results.append(output.result.update)
    # Two updates clipped to 4, over the four that were expected, in each round.
    self.assertAllClose(sum(r[0] for r in results), 4 * 2, atol=6)
    # One round has the noise of one leaf, z C / 4. The sum of four has that of
    # the root, to which the levels below it are averaged in (Honaker 2015): a
    # variance of 1 / (2 - 2^(1 - 3)). Fresh each round, it would be 4.
    self.assertAllClose(np.std(results[0][1:]), 1, rtol=0.04)
    self.assertAllClose(np.std(sum(results)[1:]), np.sqrt(4 / 7), rtol=0.04)

  def test_a_private_round_of_nobody_is_its_noise(self):
    for mechanism in ("gaussian", "adaptive_gaussian", "tree"):
      config = AggregationConfig(
        privacy=PrivacyConfig(mechanism, 1.0, clip_norm=4.0)
      )
      selection = _alike(_selection(size=3000))
      process = build_chosen_aggregator(selection, config, 4)
      update = self.next(process, []).result.update
      self.assertAllClose(np.std(update), 1, rtol=0.3, msg=mechanism)

  @parameterized.parameters(
    (dict(secure=True, rule="median"), "only cannot put single updates"),
    (dict(secure=True, compressed=True), "cannot be added up"),
    (dict(privacy=PrivacyConfig("gaussian"), rule="median"), "clipped updates"),
    (dict(privacy=PrivacyConfig("tree"), compressed=True), "too small"),
    (dict(privacy=PrivacyConfig("gaussian"), secure=True), "of integers"),
    (dict(rule="trimmed_mean", compressed=True), "decodes the sum"),
    (dict(rule="mode"), "--aggregation=mode"),
    (dict(trim_fraction=0.5), "--trim_fraction=0.5"),
  )  # fmt: skip
  def test_unsound_combinations_are_refused(self, settings, why):
    with self.assertRaisesRegex(InputError, why):
      AggregationConfig(**settings)

  def test_selections_that_would_show_who_held_what_are_refused(self):
    for config in (
      AggregationConfig(secure=True),
      AggregationConfig(privacy=PrivacyConfig("gaussian")),
    ):
      with self.assertRaisesRegex(InputError, "expected --mask_scope=round"):
        build_chosen_aggregator(_alike(_selection(4, "client")), config, 2)
    tree = AggregationConfig(privacy=PrivacyConfig("tree"))
    with self.assertRaisesRegex(InputError, "expected the full model"):
      build_chosen_aggregator(_alike(_selection(4, "round")), tree, 2)


if __name__ == "__main__":
  tf.test.main()

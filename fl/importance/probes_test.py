"""The probes reset what they say, restore it, and rank it right."""

import dataclasses
import os

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from fl.importance.blockwise import BlockwiseRecognizer
from fl.importance.chart import draw_importance
from fl.importance.error_counts import (
  ErrorCounts,
  count_errors,
  difference_interval,
)
from fl.importance.importance_file import (
  Measured,
  read_importance,
  speech_digest,
  write_importance,
)
from fl.importance.importance_rows import (
  importance_rows,
  mean_counts,
  most_ambient,
)
from fl.importance.probes import (
  Part,
  Probe,
  check_values,
  fresh_values,
  joint_parts,
  parts_of,
)
from lingvo_lite.data.examples import Example
from lingvo_lite.data.utterance import Utterance
from lingvo_lite.metrics.recognition import Recognizer
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.presets import PRESETS
from lingvo_lite.stage.errors import InputError
from lingvo_lite.text.vocabulary import CharacterVocabulary

_CONFIG = ConformerConfig(
  num_blocks=2,
  d_model=16,
  ffn_units=16,
  num_heads=2,
  conv_kernel_size=3,
  subsampling_channels=2,
  norm_groups=2,
)


def _group(name):
  return Part(name, "group", (name,))


def _examples():
  draw = np.random.default_rng(0)
  return [
    Example(
      Utterance(f"1-1-{number}", "1", "1", "", "AB CD"),
      draw.normal(size=[40 + 8 * number, 80]).astype(np.float32),
      np.array([0, 1, 26, 2, 3], np.int32),
    )
    for number in range(4)
  ]


class ProbesTest(parameterized.TestCase, tf.test.TestCase):
  def test_block_by_block_hears_what_the_whole_model_hears(self):
    """Each probe against the plain way: reset, recognise all, put back."""
    model = build_ctc_model(_CONFIG)
    # A model that says something: other labels than the blank.
    model.get_layer("ctc/logits").kernel.assign_add(
      np.random.default_rng(1).normal(size=[16, 29])
    )
    # Many spaces, so that the number of words changes with any change.
    space = CharacterVocabulary().encode("A B")[1]
    model.get_layer("ctc/logits").bias[space].assign(8.0)
    trained = {v.name: v.numpy() for v in model.variables}
    values = {
      name: value
      + np.random.default_rng(2).normal(size=value.shape).astype(np.float32)
      for name, value in trained.items()
    }
    vocabulary = CharacterVocabulary()
    # Not in the order of the model, and one that spans blocks.
    parts = [
      Part("joint", "joint", ("block_01/conv", "block_00/attention")),
      *reversed(parts_of(_CONFIG)),
    ]
    baseline, counts = BlockwiseRecognizer(
      model, _CONFIG, _examples(), vocabulary, batch_size=2
    ).measure([Probe(part, values) for part in parts])
    for variable in model.variables:
      self.assertAllEqual(variable, trained[variable.name])

    whole = Recognizer(model, _examples(), vocabulary, batch_size=2)
    expected = count_errors(whole.references, whole.hypotheses())
    self.assertAllEqual(baseline.errors, expected.errors)
    different = 0
    for part, counted in zip(parts, counts, strict=True):
      for variable in model.variables:
        source = values if part.holds(variable.name) else trained
        variable.assign(source[variable.name])
      after = count_errors(whole.references, whole.hypotheses())
      self.assertAllEqual(counted.errors, after.errors, part.name)
      different += int((after.errors != expected.errors).any())
    self.assertGreater(different, len(parts) // 2)

  def test_restores_when_it_is_stopped_midway(self):
    model = build_ctc_model(_CONFIG)
    trained = [v.numpy() for v in model.variables]
    recognizer = BlockwiseRecognizer(
      model, _CONFIG, _examples(), CharacterVocabulary()
    )
    values = {v.name: v.numpy() + 1 for v in model.variables}
    # The last of its values is missing: the others are in by then.
    del values["block_01/conv/contract/bias:0"]
    with self.assertRaises(KeyError):
      recognizer.measure([Probe(_group("block_01/conv"), values)])
    for variable, value in zip(model.variables, trained, strict=True):
      self.assertAllEqual(variable, value)

  @parameterized.parameters("block_07", "subsampling", "block_0")
  def test_an_unknown_part_is_refused(self, name):
    model = build_ctc_model(_CONFIG)
    recognizer = BlockwiseRecognizer(
      model, _CONFIG, _examples(), CharacterVocabulary()
    )
    with self.assertRaisesRegex(InputError, f"no variables of {name}"):
      recognizer.measure([Probe(_group(name), {})])

  def test_values_of_another_model_are_refused(self):
    shapes = {"a/kernel:0": (2, 3)}
    check_values({"a/kernel:0": np.zeros([2, 3])}, shapes, "initial.keras")
    for values in ({}, {"a/kernel:0": np.zeros([3, 2])}):
      with self.assertRaisesRegex(InputError, "a/kernel:0 in other.keras"):
        check_values(values, shapes, "other.keras")

  def test_fresh_draws_differ_where_a_layer_draws(self):
    one, two = fresh_values(_CONFIG, 1), fresh_values(_CONFIG, 2)
    name = "block_00/conv/expand/kernel:0"
    self.assertNotAllClose(one[name], two[name])
    self.assertAllClose(one[name].std(), two[name].std(), rtol=0.2)
    self.assertAllEqual(one["block_00/conv/expand/bias:0"], tf.zeros([32]))

  def test_joint_sets_grow_by_the_next_most_ambient(self):
    rows = [
      {"group": name, "kind": kind, "delta": delta}
      for name, kind, delta in (
        ("x", "block", -1.0), ("x/a", "group", 0.3), ("x/b", "group", 0.1),
        ("x/c", "group", 0.2), ("x/d", "group", 0.0),
      )
    ]  # fmt: skip
    names = most_ambient(rows, 3)
    self.assertEqual(names, ["x/d", "x/b", "x/c"])
    self.assertEqual(
      [part.prefixes for part in joint_parts(names)],
      [("x/d", "x/b"), ("x/d", "x/b", "x/c")],
    )
    self.assertEqual(joint_parts(names[:1]), [])

  def test_every_group_and_block_is_probed(self):
    parts = parts_of(PRESETS["tiny"])
    self.assertLen([p for p in parts if p.kind == "group"], 16)
    self.assertLen([p for p in parts if p.kind == "block"], 4)

  def test_rows_rank_within_their_kind(self):
    words = np.array([10, 10])
    parts = [
      _group("x/a"),
      _group("x/b"),
      Part("x", "block", ("x",)),
      _group("x/c"),
    ]
    errors = [[1, 1], [6, 5], [9, 9], [0, 3]]
    rows = importance_rows(
      ErrorCounts(np.array([0, 1]), words),
      parts,
      [ErrorCounts(np.array(of_part), words) for of_part in errors],
      "reinit",
      ambient_threshold=0.1,
      seed=0,
    )
    self.assertEqual([row["rank"] for row in rows], [3, 1, 1, 2])
    self.assertAllClose([row["delta"] for row in rows], [0.05, 0.5, 0.85, 0.1])
    # x/c rises by the threshold, but up to 0.2 on its worst utterance.
    self.assertEqual(
      [row["ambient"] for row in rows], [True, False, False, False]
    )

  def test_draws_are_averaged_an_utterance(self):
    words = np.array([4, 4])
    mean = mean_counts(
      [ErrorCounts(np.array(e), words) for e in ([0, 2], [1, 2])]
    )
    self.assertAllEqual(mean.errors, [0.5, 2.0])
    self.assertEqual(mean.rate, 2.5 / 8)

  def test_word_errors_are_counted_an_utterance(self):
    counts = count_errors(
      ["ONE TWO THREE", "FOUR", "FIVE SIX"],
      ["ONE TOO THREE THREE", "FOUR", "SIX"],
    )
    # A substitution and an insertion; nothing; a deletion.
    self.assertAllEqual(counts.errors, [2, 0, 1])
    self.assertAllEqual(counts.words, [3, 1, 2])
    self.assertEqual(counts.rate, 0.5)

  def test_the_interval_is_of_the_paired_difference(self):
    words = np.full(200, 10)
    hard = np.random.default_rng(0).integers(0, 10, 200)
    low, high = difference_interval(
      ErrorCounts(hard + 1, words), ErrorCounts(hard, words), seed=0
    )
    # However hard the utterances are, each is worse by one word in ten.
    self.assertAllClose([low, high], [0.1, 0.1])
    low, high = difference_interval(
      ErrorCounts(np.arange(200) % 2, words),
      ErrorCounts(np.zeros(200, int), words),
      seed=0,
    )
    self.assertBetween(low, 0.03, 0.05)
    self.assertBetween(high, 0.05, 0.07)

  def test_the_file_goes_there_and_back(self):
    measured = Measured({"num_blocks": 1}, "ab" * 32, "cd" * 32)
    folder = self.create_tempdir()
    path = os.path.join(folder, "importance.json")
    rows = [
      {"group": "block_00/conv", "kind": "group", "probe": "reinit",
       "wer": 0.3, "delta": 0.2, "ci": [0.1, 0.3], "rank": 1,
       "ambient": False},
      {"group": "block_00", "kind": "block", "probe": "reinit", "wer": 0.9,
       "delta": 0.8, "ci": [0.7, 0.9], "rank": 1, "ambient": False},
    ]  # fmt: skip
    write_importance(path, measured, 0.1, 0.05, rows, {"rerand_rows": rows})
    self.assertEqual(read_importance(path, measured), {"block_00/conv": 0.2})
    for changes, reason in (
      ({"model": {"num_blocks": 2}}, "num_blocks 1, expected 2"),
      ({"model_sha256": "ef" * 32}, "another checkpoint .* expected efef"),
      ({"corpus_sha256": "ef" * 32}, "another corpus .* expected efef"),
    ):
      other = dataclasses.replace(measured, **changes)
      with self.assertRaisesRegex(InputError, reason):
        read_importance(path, other)
    chart = os.path.join(folder, "importance.png")
    draw_importance(chart, rows, 0.1, 0.05)
    with open(chart, "rb") as file:
      self.assertEqual(file.read(4), b"\x89PNG")

  def test_the_digest_tells_corpora_apart(self):
    path = self.create_tempfile(content="abc").full_path
    one = Utterance("1", "s", "1", path, "A")
    two = Utterance("2", "s", "1", path, "B")
    self.assertEqual(speech_digest([one, two]), speech_digest([two, one]))
    others = [[one], [one, dataclasses.replace(two, transcript="C")]]
    for other in others:
      self.assertNotEqual(speech_digest(other), speech_digest([one, two]))


if __name__ == "__main__":
  tf.test.main()

"""The probes reset what they say, restore it, and rank it right."""

import os

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from fl.importance.chart import draw_importance
from fl.importance.error_counts import (
  ErrorCounts,
  count_errors,
  difference_interval,
)
from fl.importance.importance_file import read_importance, write_importance
from fl.importance.reset_probe import (
  Outcome,
  Part,
  ResetProbe,
  importance_rows,
  parts_of,
)
from lingvo_lite.models.presets import PRESETS
from lingvo_lite.stage.errors import InputError


class _StubRecognizer:
  """Hears the first word right while `a`, the second while `b` is trained."""

  references = ["ONE TWO", "ONE TWO"]

  def __init__(self, model):
    self._model = model

  def hypotheses(self):
    values = [float(v.numpy().ravel()[0]) for v in self._model.variables]
    words = [
      word if value == 5.0 else "WRONG"
      for word, value in zip(("ONE", "TWO"), values[::2], strict=True)
    ]
    # The second utterance is always right.
    return [" ".join(words), "ONE TWO"]


def _model():
  inputs = tf.keras.Input([1])
  hidden = tf.keras.layers.Dense(1, name="block_00/a")(inputs)
  hidden = tf.keras.layers.Dense(1, name="block_00/b")(hidden)
  model = tf.keras.Model(inputs, hidden)
  for variable in model.variables:
    variable.assign(tf.fill(variable.shape, 5.0))
  return model


class ResetProbeTest(parameterized.TestCase, tf.test.TestCase):
  def test_resets_one_part_at_a_time_and_restores_it(self):
    model = _model()
    initial = {v.name: np.zeros(v.shape, np.float32) for v in model.variables}
    probe = ResetProbe(model, initial, _StubRecognizer(model))
    self.assertEqual(probe.baseline().rate, 0.0)
    parts = [
      Part("block_00/a", "group"),
      Part("block_00/b", "group"),
      Part("block_00", "block"),
    ]
    outcomes = list(probe.outcomes(parts))
    self.assertEqual([o.counts.rate for o in outcomes], [0.25, 0.25, 0.5])
    self.assertAllEqual([v.numpy().min() for v in model.variables], [5.0] * 4)

  def test_restores_when_it_is_stopped_midway(self):
    model = _model()
    initial = {v.name: np.zeros(v.shape, np.float32) for v in model.variables}
    probe = ResetProbe(model, initial, _StubRecognizer(model))
    outcomes = probe.outcomes([Part("block_00", "block")])
    next(outcomes)
    outcomes.close()
    self.assertAllEqual([v.numpy().min() for v in model.variables], [5.0] * 4)

  def test_initial_values_of_another_model_are_refused(self):
    model = _model()
    with self.assertRaisesRegex(InputError, "expected initial.keras"):
      ResetProbe(model, {}, _StubRecognizer(model))
    initial = {v.name: np.zeros([7], np.float32) for v in model.variables}
    with self.assertRaisesRegex(InputError, "expected initial.keras"):
      ResetProbe(model, initial, _StubRecognizer(model))

  def test_an_unknown_part_is_refused(self):
    model = _model()
    initial = {v.name: v.numpy() for v in model.variables}
    probe = ResetProbe(model, initial, _StubRecognizer(model))
    with self.assertRaisesRegex(InputError, "no variables of block_07"):
      list(probe.outcomes([Part("block_07", "block")]))

  def test_every_group_and_block_is_probed(self):
    parts = parts_of(PRESETS["tiny"])
    self.assertLen([p for p in parts if p.kind == "group"], 16)
    self.assertLen([p for p in parts if p.kind == "block"], 4)

  def test_rows_rank_within_their_kind(self):
    words = np.array([10, 10])

    def outcome(name, kind, errors):
      return Outcome(Part(name, kind), ErrorCounts(np.array(errors), words))

    rows = importance_rows(
      ErrorCounts(np.array([0, 1]), words),
      [
        outcome("x/a", "group", [1, 1]),
        outcome("x/b", "group", [6, 5]),
        outcome("x", "block", [9, 9]),
      ],
      ambient_threshold=0.05,
      seed=0,
    )
    self.assertEqual([row["rank"] for row in rows], [2, 1, 1])
    self.assertAllClose([row["delta"] for row in rows], [0.05, 0.5, 0.85])
    self.assertEqual([row["ambient"] for row in rows], [True, False, False])

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
    model = {"num_blocks": 1}
    folder = self.create_tempdir()
    path = os.path.join(folder, "importance.json")
    rows = [
      {"group": "block_00/conv", "kind": "group", "probe": "reinit",
       "wer": 0.3, "delta": 0.2, "ci": [0.1, 0.3], "rank": 1,
       "ambient": False},
      {"group": "block_00", "kind": "block", "probe": "reinit", "wer": 0.9,
       "delta": 0.8, "ci": [0.7, 0.9], "rank": 1, "ambient": False},
    ]  # fmt: skip
    write_importance(path, model, 0.1, 0.05, rows)
    self.assertEqual(read_importance(path, model), {"block_00/conv": 0.2})
    with self.assertRaisesRegex(InputError, "num_blocks 1, expected 2"):
      read_importance(path, {"num_blocks": 2})
    chart = os.path.join(folder, "importance.png")
    draw_importance(chart, rows, 0.1, 0.05)
    with open(chart, "rb") as file:
      self.assertEqual(file.read(4), b"\x89PNG")


if __name__ == "__main__":
  tf.test.main()

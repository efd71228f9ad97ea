"""The recipes of the USM-Lite ablation and the claims from its rows."""

import dataclasses

from absl.testing import absltest

from benchmarks.usm_lite_claims import claims, difference_interval
from benchmarks.usm_lite_ladder import (
  choices,
  healed_of,
  ladder,
  ladder_name,
)
from tflite_export.recipes import RECIPES


def _row(recipe, edits, **fields):
  return {
    "kind": "ladder",
    "recipe": recipe,
    "wer": sum(edits) / (10 * len(edits)),
    "edits": edits,
    "utterance_words": [10] * len(edits),
    "bytes": 1000,
    "transport_bytes": 900,
    "latency_ms": 4.0,
    "bytes_of_replaced": 1.0,
    "transport_bytes_of_replaced": 0.9,
    "latency_of_replaced_interval": [0.7, 0.8],
    **fields,
  }


class UsmLiteClaimsTest(absltest.TestCase):
  def test_the_ladder_has_every_rung_once(self):
    names = [recipe.name for recipe in ladder(200, 2000, quick=False)]
    self.assertLen(set(names), len(names))
    # Four numbers of bits, three sparsities, twice, but for plain float32.
    self.assertLen(names, 1 + 2 * (4 * 3 - 1) + 1)
    self.assertEqual(names[0], "float32")
    self.assertContainsSubset(
      ["int4_2of4_aware", "int2_1of4_rounded", "float32_1of4_aware"], names
    )
    self.assertLess(len(ladder(4, 4, quick=True)), 6)
    for recipe in ladder(200, 2000, quick=False):
      steps = 2000 if recipe.name.startswith("float32_") else 200
      aware = recipe.name.endswith("_aware")
      self.assertEqual(recipe.fine_tune_steps, steps if aware else 0)

  def test_what_is_pruned_and_trained_begins_with_a_healed_model_before_it(
    self,
  ):
    for quick in (False, True):
      before: list[str] = []
      for recipe in ladder(200, 2000, quick):
        healed = healed_of(recipe)
        begins_healed = recipe.name.endswith(
          "of4_aware"
        ) and recipe.name.startswith("int")
        self.assertEqual(healed is not None, begins_healed, recipe.name)
        if healed:
          self.assertIn(healed, before)
          self.assertIn(healed.split("_")[1], recipe.name)
        before.append(recipe.name)

  def test_the_paper_s_bargain_has_recipes_of_a_name(self):
    named = dict(RECIPES)
    for recipe in ladder(200, 2000, quick=False):
      name = recipe.name.replace("_aware", "_healed")
      if name in ("float32_2of4_healed", "int4_2of4_healed"):
        self.assertEqual(
          dataclasses.replace(recipe, name=name), named.pop(name)
        )
    self.assertFalse([name for name in named if name.endswith("_healed")])

  def test_choices_differ_in_one_thing(self):
    names = [recipe.name for recipe in choices(200)]
    self.assertLen(set(names), len(names))
    masks = {r.name.split(":")[1]: r.mask_updates for r in choices(200)}
    self.assertEqual(masks["transcripts_alone"], 1)
    self.assertEqual(masks["every_step_masks_sr_ste"], 100)
    in_ladder = {
      recipe.name: recipe for recipe in ladder(200, 2000, quick=False)
    }
    for recipe in choices(200):
      name, _, change = recipe.name.partition(":")
      # Those that prune are trained in one go, and faster.
      base = dataclasses.replace(
        in_ladder[name], learning_rate=recipe.learning_rate
      )
      same = dataclasses.replace(recipe, name=name) == base
      self.assertEqual(same, change == "as_it_is")

  def test_claims_by_hand(self):
    rows = [
      _row("float32", [1, 1, 0, 2]),
      _row(
        ladder_name(4, (2, 4), True),
        [1, 1, 1, 2],
        transport_bytes=84,
        latency_ms=3.0,
      ),
      _row(ladder_name(4, None, True), [1, 1, 0, 2], latency_ms=3.2),
      _row(
        ladder_name(4, None, False),
        [3, 4, 2, 3],
        latency_ms=5.0,
        latency_of_replaced_interval=[1.2, 1.3],
        bytes_of_replaced=1.025,
      ),
      {
        "kind": "static",
        "of": ladder_name(4, (2, 4), True),
        "wer": 1.05 * _row("float32", [1, 1, 0, 2])["wer"],
        "transport_bytes": 95,
      },
      {"kind": "control", "wer": 0.08},
      {"kind": "step_overhead", "ratio": 1.2},
    ]
    found = {claim.claim: claim for claim in claims(rows)}
    small = found["int4 + 2:4, transport form of float32's file"]
    self.assertEqual((small.value, small.met), (0.084, True))
    worse = found["int4 + 2:4, relative WER regression"]
    self.assertAlmostEqual(worse.value, 0.25)
    self.assertFalse(worse.met)
    of_control = found[
      "int4 + 2:4, relative WER regression of float32 trained as long"
    ]
    self.assertAlmostEqual(of_control.value, 0.125 / 0.08 - 1)
    static = "int4 + 2:4 with static activations"
    larger = found[f"{static}, transport form of float32's file"]
    self.assertEqual((larger.value, larger.met), (0.095, False))
    worse = found[f"{static}, relative WER regression"]
    self.assertAlmostEqual(worse.value, 0.05)
    self.assertTrue(worse.met)
    self.assertEqual(found["int4, latency of float32's"].value, 0.8)
    of_dense = "of the dense file that it replaces"
    self.assertEqual(found[f"largest stored, {of_dense}"].value, 1.025)
    self.assertTrue(found[f"largest in transport form, {of_dense}"].met)
    [slowest] = [c for name, c in found.items() if name.startswith("slowest")]
    self.assertEqual((slowest.value, slowest.met), (1.2, False))
    [beats] = [c for name, c in found.items() if name.startswith("int4, aware")]
    self.assertTrue(beats.met)
    [unknown] = [c for name, c in found.items() if name.startswith("int2, aw")]
    self.assertIsNone(unknown.value)
    self.assertFalse(unknown.met)

  def test_the_interval_of_equals_is_nothing(self):
    row = _row("x", [0, 3, 1])
    self.assertEqual(difference_interval(row, row), (0.0, 0.0))
    better = _row("y", [0, 2, 0])
    low, high = difference_interval(better, row)
    self.assertLess(low, -1 / 15)
    self.assertLessEqual(high, 0.0)


if __name__ == "__main__":
  absltest.main()

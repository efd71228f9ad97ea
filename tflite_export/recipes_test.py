"""The recipes, and what no recipe may ask for."""

import dataclasses

from absl.testing import absltest, parameterized

from lingvo_lite.stage.errors import InputError
from tflite_export.recipes import RECIPES, Recipe


class RecipesTest(parameterized.TestCase):
  def test_names_say_what_is_kept(self):
    self.assertEqual(
      list(RECIPES),
      ["float32", "float32_2of4", "int8", "int4", "int2", "int4_2of4"]
      + ["int4_1of4", "mixed_2of4", "float32_2of4_healed", "int4_2of4_healed"],
    )
    for name, recipe in RECIPES.items():
      bits = "float32" if not recipe.weight_bits else f"int{recipe.weight_bits}"
      bits = "mixed" if recipe.mean_bits else bits
      kept = "" if not recipe.kept_of else "_{}of{}".format(*recipe.kept_of)
      self.assertEqual(name.removesuffix("_healed"), bits + kept)

  def test_published_settings_stay(self):
    # Others' files are called after them and compared by name.
    expected = {
      "float32_2of4": {"fine_tune_steps": 120, "learning_rate": 1e-3},
      "int8": {},
      "int4": {"fine_tune_steps": 60},
      "int2": {"fine_tune_steps": 150, "learning_rate": 1e-3},
      "int4_2of4": {"fine_tune_steps": 80, "learning_rate": 5e-4},
    }
    for name, fields in expected.items():
      recipe = RECIPES[name]
      kept = {"weight_bits": recipe.weight_bits, "kept_of": recipe.kept_of}
      self.assertEqual(recipe, Recipe(name, **kept, **fields))

  @parameterized.parameters(
    {"weight_bits": 1},
    {"weight_bits": 9},
    {"weight_bits": 4, "kept_of": (4, 4)},
    {"weight_bits": 4, "kept_of": (0, 4)},
    {"weight_bits": 4, "mean_bits": 3.0},
    {"weight_bits": 4, "mask_updates": 3},
    {"weight_bits": 4, "dropped_decay": 2e-4},
    {"fine_tune_steps": 5},
    {"weight_bits": 4, "weight_noise": 0.1},
    {"weight_bits": 4, "fine_tune_steps": 5, "weight_noise": -0.1},
    {"weight_bits": 4, "fine_tune_steps": -1},
    {"weight_bits": 4, "fine_tune_steps": 5, "learning_rate": 0.0},
    {"weight_bits": 4, "fine_tune_steps": 5, "learning_rate": float("nan")},
    {"mean_bits": 0.0},
    {"kept_of": (2, 4), "dropped_decay": 2e-4},
    {"kept_of": (2, 4), "fine_tune_steps": 5, "dropped_decay": -1.0},
    {"kept_of": (2, 4), "fine_tune_steps": 5, "mask_updates": 0},
    {"kept_of": (2, 4), "fine_tune_steps": 5, "mask_update_every": 0},
    {"kept_of": (2, 4), "mask_updates": 2},
    {"kept_of": (2, 4), "transcript_fraction": -0.1},
    {"kept_of": (2, 4), "transcript_fraction": 1.1},
    {"kept_of": (2, 4), "transcript_fraction": float("nan")},
    {"kept_of": (2, 4), "fine_tune_steps": 5, "mask_updates": 6},
  )
  def test_nonsense_is_refused(self, **fields):
    with self.assertRaisesRegex(InputError, "found .* recipe x, expected"):
      Recipe("x", **fields)

  def test_masks_may_be_chosen_before_the_last_step(self):
    fields = {"kept_of": (2, 4), "fine_tune_steps": 5, "mask_updates": 5}
    recipe = Recipe("x", **fields)
    with self.assertRaisesRegex(InputError, "before step 8 of 5"):
      dataclasses.replace(recipe, mask_update_every=2)


if __name__ == "__main__":
  absltest.main()

"""Recipes."""

from absl.testing import absltest, parameterized

from lingvo_lite.stage.errors import InputError
from tflite_export.recipes import RECIPES, Recipe, find_recipe


class RecipesTest(parameterized.TestCase):
  def test_names_say_what_is_kept(self):
    self.assertEqual(
      list(RECIPES),
      ["float32", "float32_2of4", "int8", "int4", "int2", "int4_2of4"],
    )
    for name, recipe in RECIPES.items():
      bits = "float32" if not recipe.weight_bits else f"int{recipe.weight_bits}"
      kept = "" if not recipe.kept_of else "_{}of{}".format(*recipe.kept_of)
      self.assertEqual(name, bits + kept)

  def test_an_unknown_name_lists_the_known(self):
    with self.assertRaisesRegex(InputError, "'int3'.*int8, int4, int2"):
      find_recipe("int3")

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
  )
  def test_nonsense_is_refused(self, **fields):
    with self.assertRaisesRegex(InputError, "found .* recipe x, expected"):
      Recipe("x", **fields)


if __name__ == "__main__":
  absltest.main()

"""Recipes by name and from files."""

import dataclasses
import json
import os

from absl.testing import absltest, parameterized

from lingvo_lite.stage.errors import InputError
from tflite_export.recipe_lookup import find_recipe, find_recipes
from tflite_export.recipes import RECIPES, Recipe


class RecipeLookupTest(parameterized.TestCase):
  def write(self, contents):
    path = os.path.join(self.create_tempdir().full_path, "mine.json")
    with open(path, "w", encoding="utf-8") as file:
      file.write(
        contents if isinstance(contents, str) else json.dumps(contents)
      )
    return path

  def test_named_ones_are_themselves(self):
    for name, recipe in RECIPES.items():
      self.assertIs(find_recipe(name), recipe)

  @parameterized.parameters(
    ("int7", 7, None, 0, 3e-4),
    ("int5", 5, None, 60, 3e-4),
    ("int3", 3, None, 150, 1e-3),
    ("float32_4of8", None, (4, 8), 120, 1e-3),
    ("float32_1of4", None, (1, 4), 240, 1e-3),
    ("int8_2of4", 8, (2, 4), 80, 5e-4),
    ("int6_3of16", 6, (3, 16), 160, 1e-3),
    ("int2_10of16", 2, (10, 16), 150, 1e-3),
    ("int2_1of4", 2, (1, 4), 300, 1e-3),
  )
  def test_others_are_set_as_the_most_similar(
    self, name, bits, kept_of, steps, rate
  ):
    self.assertEqual(
      find_recipe(name),
      Recipe(
        name,
        weight_bits=bits,
        kept_of=kept_of,
        fine_tune_steps=steps,
        learning_rate=rate,
      ),
    )

  @parameterized.parameters(
    "int9", "int1", "int", "int4_", "int4_2", "int4_0of4", "int4_02of4",
    "int44", "float16", "float32_of4", "mixed_1of4", "INT4", "", "int4 ",
  )  # fmt: skip
  def test_an_unknown_name_is_told_the_grammar(self, name):
    words = f"'{name}'.*int4_2of4, .*int2 to int8.*_NofM.*any such pair.*json"
    with self.assertRaisesRegex(InputError, words):
      find_recipe(name)

  def test_as_many_as_there_are_are_not_kept(self):
    with self.assertRaisesRegex(InputError, "int4_4of4, expected .* 0 < n < m"):
      find_recipe("int4_4of4")

  def test_each_once(self):
    path = self.write({"name": "int4", "weight_bits": 4})
    self.assertEqual(
      [recipe.name for recipe in find_recipes(["int8", path])],
      ["int8", "int4"],
    )
    with self.assertRaisesRegex(InputError, "int4 2 times, .* each once"):
      find_recipes(["int4", "int8", path])

  def test_every_field_may_be_in_a_file(self):
    recipe = Recipe(
      "sr_ste",
      weight_bits=4,
      kept_of=(2, 4),
      fine_tune_steps=90,
      learning_rate=1e-3,
      transcript_fraction=0.25,
      train_clips=False,
      mask_updates=4,
      mask_update_every=10,
      dropped_decay=2e-4,
      weight_noise=0.03,
    )
    path = self.write(dataclasses.asdict(recipe))
    self.assertEqual(find_recipe(path), recipe)
    path = self.write('{"name": "m", "mean_bits": 3, "weight_bits": null}')
    self.assertEqual(find_recipe(path), Recipe("m", mean_bits=3.0))

  @parameterized.parameters(
    ("{", "no valid JSON"),
    ("[]", "no object with a name"),
    ({"weight_bits": 4}, "no object with a name"),
    ({"name": "x", "wieght_bits": 4}, "unknown field 'wieght_bits'"),
    ({"name": 4}, "name 4 .*expected text"),
    ({"name": "x", "weight_bits": 4.0}, "weight_bits 4.0 .*whole number or"),
    ({"name": "x", "weight_bits": "4"}, "weight_bits '4'"),
    ({"name": "x", "weight_bits": True}, "weight_bits True"),
    ({"name": "x", "kept_of": [2, 4, 8]}, r"kept_of .*expected \[n, m\]"),
    ({"name": "x", "kept_of": "2of4"}, "kept_of '2of4'"),
    ({"name": "x", "train_clips": 1}, "train_clips 1 .*true or false"),
    ({"name": "x", "learning_rate": None}, "learning_rate None"),
    ('{"name": "x", "learning_rate": NaN}', "learning_rate nan"),
    ('{"name": "x", "learning_rate": 1e999}', "learning_rate inf"),
  )
  def test_a_bad_file_lists_the_fields(self, contents, words):
    path = self.write(contents)
    with self.assertRaisesRegex(InputError, words) as caught:
      find_recipe(path)
    self.assertIn(path, str(caught.exception))
    for field in dataclasses.fields(Recipe):
      self.assertIn(f"{field.name} (", str(caught.exception))

  @parameterized.parameters(
    ({"name": "a/b", "weight_bits": 4}, "the name 'a/b'"),
    ({"name": "..", "weight_bits": 4}, "the name '..'"),
    ({"name": "a.json", "weight_bits": 4}, "the name 'a.json'"),
    ({"name": "int4", "weight_bits": 8}, "the name int4 .* weight_bits 8"),
    ({"name": "int4", "kept_of": [2, 4]}, "the name int4 .* what is kept"),
    ({"name": "float32", "mean_bits": 3}, "the name float32 .* mean_bits 3"),
    ({"name": "x", "weight_bits": 12}, "weight_bits 12 in the recipe x"),
    ({"name": "x", "transcript_fraction": 2}, "transcript_fraction 2.0 in"),
    (
      {"name": "x", "transcript_fraction": -0.1},
      "fraction -0.1 in .* 0 .* to 1",
    ),
  )
  def test_a_file_of_nonsense_is_refused(self, values, words):
    with self.assertRaisesRegex(InputError, words):
      find_recipe(self.write(values))

  def test_a_missing_file_is_named(self):
    with self.assertRaisesRegex(InputError, "no file .*none.json"):
      find_recipe(os.path.join(self.create_tempdir().full_path, "none.json"))


if __name__ == "__main__":
  absltest.main()

"""Which file another replaces, and in what it is worse."""

import dataclasses

from absl.testing import absltest

from tflite_export.cost import Speed
from tflite_export.dense_comparison import add_comparisons, replaced
from tflite_export.recipes import RECIPES, Recipe


def _speed(*turns_ms):
  return Speed(turns_ms[0], 0.1, 3.0, turns_ms)


class DenseComparisonTest(absltest.TestCase):
  def test_the_dense_file_of_as_many_bits_is_replaced(self):
    recipes = [
      *RECIPES.values(),
      Recipe("int4_rounded", weight_bits=4),
      Recipe("int4_2of4_rounded", weight_bits=4, kept_of=(2, 4)),
      Recipe("mixed", mean_bits=2.6, kept_of=(2, 4)),
      Recipe("int3_2of4", weight_bits=3, kept_of=(2, 4)),
    ]
    fields = [dataclasses.asdict(recipe) for recipe in recipes]
    found = {}
    for index, recipe in enumerate(recipes):
      at = replaced(fields, index)
      found[recipe.name] = None if at is None else recipes[at].name
    self.assertEqual(
      found,
      {
        "float32": None,
        "float32_2of4": "float32",
        "int8": "float32",
        "int4": "float32",
        "int2": "float32",
        "int4_2of4": "int4",
        "int4_1of4": "int4",
        "mixed_2of4": "float32",
        "float32_2of4_healed": "float32",
        "int4_2of4_healed": "int4",
        "int4_rounded": "float32",
        "int4_2of4_rounded": "int4_rounded",
        "mixed": "float32",
        "int3_2of4": "float32",
      },
    )
    self.assertIsNone(replaced(fields[2:3], 0))

  def test_what_is_worse_is_said(self):
    recipes = [
      dataclasses.asdict(RECIPES[name]) for name in ("float32", "int8", "int4")
    ]
    rows = [
      {"recipe": "float32", "bytes": 1000, "transport_bytes": 900},
      {"recipe": "int8", "bytes": 1100, "transport_bytes": 450},
      {"recipe": "int4", "bytes": 150, "transport_bytes": 90},
    ]
    # A slow turn of the machine slows all: turns are compared with their own.
    speeds = [_speed(10, 20, 10), _speed(12, 24, 12), _speed(8, 16, 8)]
    add_comparisons(rows, recipes, speeds)
    self.assertEqual(rows[0]["worse_than_replaced"], [])
    self.assertNotIn("replaces", rows[0])
    self.assertEqual(
      rows[1]["worse_than_replaced"],
      ["10.0% larger than float32", "20.0% to 20.0% slower than float32"],
    )
    self.assertEqual(rows[2]["bytes_of_replaced"], 0.15)
    self.assertEqual(rows[2]["transport_bytes_of_replaced"], 0.1)
    self.assertEqual(rows[2]["latency_of_replaced_interval"], [0.8, 0.8])
    self.assertEqual(rows[2]["worse_than_replaced"], [])

  def test_noise_is_not_slowness(self):
    turns = (10.0, 11.0, 9.0, 10.5, 9.5)
    low, high = _speed(*turns).relative_to(_speed(*reversed(turns)))
    self.assertLess(low, 1)
    self.assertGreater(high, 1)


if __name__ == "__main__":
  absltest.main()

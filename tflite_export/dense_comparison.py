"""Is a file worse than the dense one that it replaces?

A pruned file that is no smaller on the phone, or slower, is worth knowing about
before it is shipped: so what is worse is said beside each file's figures.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tflite_export.cost import Speed


def add_comparisons(
  rows: Sequence[dict[str, Any]],
  recipes: Sequence[Mapping[str, Any]],
  speeds: Sequence[Speed],
) -> None:
  """Adds to each row what it replaces and how it is worse, in place.

  Args:
    rows: `recipe`, `bytes` and `transport_bytes` of each file.
    recipes: the fields of each file's recipe.
    speeds: of each file, measured turn by turn.
  """
  for index, row in enumerate(rows):
    row["worse_than_replaced"] = []
    at = replaced(recipes, index)
    if at is None:
      continue
    other = rows[at]
    row["replaces"] = other["recipe"]
    # Names and settings differ by some bytes: no file is larger for that.
    row["bytes_of_replaced"] = round(row["bytes"] / other["bytes"], 3)
    row["transport_bytes_of_replaced"] = round(
      row["transport_bytes"] / other["transport_bytes"], 3
    )
    row["latency_of_replaced_interval"] = [
      round(end, 4) for end in speeds[index].relative_to(speeds[at])
    ]
    row["worse_than_replaced"] = _worse(row)


def replaced(recipes: Sequence[Mapping[str, Any]], index: int) -> int | None:
  """Returns which file another one would replace.

  For a pruned file that is the dense one of as many bits, trained if it is
  trained; for a dense one, for mixed bits, and where there is none, float32's.

  Args:
    recipes: the fields of each file's recipe.
    index: of the file.

  Returns:
    The index of the other; None: there is none, or it is float32's itself.
  """
  recipe = recipes[index]
  dense = [
    at
    for at, other in enumerate(recipes)
    if at != index and other["kept_of"] is None and other["mean_bits"] is None
  ]
  same = [
    at
    for at in dense
    if recipe["kept_of"] is not None
    and recipe["mean_bits"] is None
    and recipes[at]["weight_bits"] == recipe["weight_bits"]
  ]
  trained = bool(recipe["fine_tune_steps"])
  same.sort(key=lambda at: bool(recipes[at]["fine_tune_steps"]) != trained)
  floats = [at for at in dense if recipes[at]["weight_bits"] is None]
  return next(iter(same + floats), None)


def _worse(row: Mapping[str, Any]) -> list[str]:
  found = []
  for key, what in (
    ("bytes_of_replaced", "larger than"),
    ("transport_bytes_of_replaced", "larger in transport form than"),
  ):
    if row[key] > 1:
      more = 100 * (row[key] - 1)
      found.append(f"{more:.1f}% {what} {row['replaces']}")
  low, high = row["latency_of_replaced_interval"]
  if low > 1:
    found.append(
      f"{100 * (low - 1):.1f}% to {100 * (high - 1):.1f}% slower than"
      f" {row['replaces']}"
    )
  return found

"""Finds the recipe that was asked for: by its name, or in a file."""

import dataclasses
import json
import re
import sys
import types
from collections.abc import Sequence
from typing import Any

from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import require_file
from tflite_export.recipes import MAX_BITS, MIN_BITS, RECIPES, Recipe

# What few weights are kept of is trained with this rate at least.
_HIGH_RATE = 1e-3
_NAME = re.compile(
  rf"(?:float32|int(?P<bits>[{MIN_BITS}-{MAX_BITS}]))"
  r"(?:_(?P<kept>[1-9]\d*)of(?P<group>[1-9]\d*))?"
)
# It names folders and files.
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# What may be asked for; also what the flags say.
NAMES_IN_WORDS = (
  f"{', '.join(RECIPES)}; int{MIN_BITS} to int{MAX_BITS}; with _NofM behind"
  " float32 or those, N weights are kept of every M neighbours, any such pair"
  " (float32_1of4, int3_4of8); or the path of a .json file with the fields of a"
  " recipe"
)
_WORDS: dict[Any, str] = {
  str: "text",
  int: "whole number",
  float: "number",
  bool: "true or false",
  tuple[int, int]: "[n, m]",
}


def find_recipe(name: str) -> Recipe:
  """Returns a recipe.

  Args:
    name: one of `RECIPES`; `int3`, `float32_1of4`, `int8_4of8` and so on, whose
      settings are those of the most similar named one; or the path of a file
      that `read_recipe` reads.

  Raises:
    InputError: there is none.
  """
  if is_recipe_file(name):
    return read_recipe(name)
  if name in RECIPES:
    return RECIPES[name]
  match = _NAME.fullmatch(name)
  if match is None:
    raise InputError(
      f"found the recipe {name!r}, expected one of {NAMES_IN_WORDS}"
    )
  return _similar(name, *_bits_and_kept_of(match))


def find_recipes(names: Sequence[str]) -> list[Recipe]:
  """Returns `find_recipe` of each; InputError when two have one name."""
  recipes = [find_recipe(name) for name in names]
  found = [recipe.name for recipe in recipes]
  for name in found:
    if found.count(name) > 1:
      raise InputError(
        f"found the recipe {name} {found.count(name)} times, expected each"
        " once: files are called after their recipe"
      )
  return recipes


def is_recipe_file(name: str) -> bool:
  """Returns whether what was asked for is a file, not a name."""
  return name.endswith(".json")


def read_recipe(path: str) -> Recipe:
  """Reads a recipe from a file.

  Args:
    path: a JSON object with fields of `Recipe`; those that are left out have
      their defaults.

  Raises:
    InputError: it is missing or damaged, a field is unknown or of a wrong type,
      or the recipe makes no sense.
  """
  require_file(path, "a recipe (.json)")
  try:
    with open(path, encoding="utf-8") as file:
      values = json.load(file)
  except ValueError as error:
    raise InputError(
      f"found {path} to be no valid JSON ({error}), expected the fields of a"
      f" recipe: {_fields_in_words()}"
    ) from error
  fields = {field.name: field for field in dataclasses.fields(Recipe)}
  if not isinstance(values, dict) or "name" not in values:
    raise InputError(
      f"found no object with a name in {path}, expected the fields of a recipe,"
      f" the name among them: {_fields_in_words()}"
    )
  for name, value in values.items():
    if name not in fields:
      raise InputError(
        f"found the unknown field {name!r} in {path}, expected those of a"
        f" recipe: {_fields_in_words()}"
      )
    values[name] = _typed(value, fields[name], path)
  recipe = Recipe(**values)
  if not _FILE_NAME.fullmatch(recipe.name) or is_recipe_file(recipe.name):
    raise InputError(
      f"found the name {recipe.name!r} in {path}, expected letters, digits, _,"
      " - and . in it: files are called after it"
    )
  match = _NAME.fullmatch(recipe.name)
  kept = (recipe.weight_bits, recipe.kept_of)
  if match and (recipe.mean_bits or _bits_and_kept_of(match) != kept):
    raise InputError(
      f"found the name {recipe.name} in {path} with weight_bits"
      f" {recipe.weight_bits}, mean_bits {recipe.mean_bits} and kept_of"
      f" {recipe.kept_of}, expected a name that says what is kept: change it"
    )
  return recipe


def _similar(
  name: str, bits: int | None, kept_of: tuple[int, int] | None
) -> Recipe:
  """Returns a recipe with the settings of the most similar named one."""
  if bits is None:
    like = RECIPES["float32_2of4"]
  elif bits < 4:
    like = RECIPES["int2"]
  elif kept_of is not None:
    like = RECIPES["int4_2of4"]
  else:
    like = RECIPES["int4" if bits < 7 else "int8"]
  steps, rate = like.fine_tune_steps, like.learning_rate
  if kept_of is not None and 2 * kept_of[0] < kept_of[1]:
    steps, rate = 2 * steps, max(rate, _HIGH_RATE)
  return Recipe(
    name,
    weight_bits=bits,
    kept_of=kept_of,
    fine_tune_steps=steps,
    learning_rate=rate,
  )


def _bits_and_kept_of(
  match: re.Match[str],
) -> tuple[int | None, tuple[int, int] | None]:
  """Returns `weight_bits` and `kept_of` of a name that `_NAME` matched."""
  bits, kept, group = match.group("bits", "kept", "group")
  return (
    int(bits) if bits else None,
    (int(kept), int(group)) if kept else None,
  )


def _typed(value: Any, field: dataclasses.Field, path: str) -> Any:
  """Returns a value from JSON as a field holds it, InputError if it cannot."""
  kind, *optional = _kinds(field)
  if value is None and optional:
    return None
  if kind is float:
    # Also no NaN and no infinity, which Python's JSON has.
    fits = type(value) in (int, float) and abs(value) <= sys.float_info.max
  elif kind == tuple[int, int]:
    fits = isinstance(value, list) and [type(n) for n in value] == [int, int]
    kind = tuple
  else:
    fits = type(value) is kind
  if not fits:
    raise InputError(
      f"found {field.name} {value!r} in {path}, expected"
      f" {_WORDS[_kinds(field)[0]]}{' or null' if optional else ''}; the fields"
      f" of a recipe: {_fields_in_words()}"
    )
  return kind(value)


def _kinds(field: dataclasses.Field) -> tuple[Any, ...]:
  """Returns the type of a field, and that of None if it may be that."""
  kind: Any = field.type
  return kind.__args__ if isinstance(kind, types.UnionType) else (kind,)


def _fields_in_words() -> str:
  return ", ".join(
    f"{field.name} ({_WORDS[_kinds(field)[0]]})"
    for field in dataclasses.fields(Recipe)
  )

"""The recipes of the USM-Lite ablation.

Every figure of the ladder is of one recipe: bits x sparsity x whether the model
was trained with both in place (`aware`) or only rounded (`rounded`). What is
pruned and trained goes the paper's way: the masks first, trained for long in
float, then the grid, trained from there.
"""

import dataclasses
import itertools
from typing import Any

from tflite_export.recipes import Recipe

BASELINE = "float32"
CONTROL = "float32_trained_on"
_BITS = (None, 8, 4, 2)
_KEPT_OF = (None, (2, 4), (1, 4))
# Whose choices are varied.
_CHANGED: tuple[tuple[int, tuple[int, int] | None], ...] = (
  (4, (2, 4)),
  (2, None),
)
# What is harmed more takes longer to heal; what has healed and is hardly harmed
# by its grid would only be stirred up again.
_LOW_RATE, _RATE, _HIGH_RATE = 1e-4, 3e-4, 1e-3
_TRANSCRIPT_FRACTION = 0.1


def ladder(steps: int, healing_steps: int, quick: bool) -> list[Recipe]:
  """Returns the recipes, the uncompressed `float32` first.

  Args:
    steps: of each fine-tuning.
    healing_steps: of the pruned float models, that others begin with.
    quick: whether to leave most of them out.
  """
  recipes = [Recipe(BASELINE)]
  for bits, kept_of in itertools.product(_BITS, _KEPT_OF):
    if bits is None and kept_of is None:
      continue
    if quick and kept_of != (2, 4) or quick and bits not in (None, 4):
      continue
    aware_steps = healing_steps if bits is None else steps
    for aware in (False, True):
      recipes.append(ladder_recipe(bits, kept_of, aware_steps if aware else 0))
  # As small as int4_2of4, but each layer is given what it needs.
  recipes.append(
    Recipe(
      "mixed_2of4_aware",
      mean_bits=2.6,
      kept_of=(2, 4),
      fine_tune_steps=steps,
      learning_rate=_HIGH_RATE,
      transcript_fraction=_TRANSCRIPT_FRACTION,
    )
  )
  return recipes[:-1] if quick else recipes


def ladder_recipe(
  bits: int | None, kept_of: tuple[int, int] | None, steps: int
) -> Recipe:
  """Returns one recipe of the ladder; `steps` 0: rounded."""
  if bits == 2 or (bits is None and kept_of is not None):
    rate = _HIGH_RATE
  else:
    rate = _RATE if kept_of is None else _LOW_RATE
  return Recipe(
    ladder_name(bits, kept_of, bool(steps)),
    weight_bits=bits,
    kept_of=kept_of,
    fine_tune_steps=steps,
    learning_rate=rate,
    transcript_fraction=_TRANSCRIPT_FRACTION if steps else 0.0,
  )


def healed_of(recipe: Recipe) -> str | None:
  """Returns the recipe whose model another begins with; None: the float one."""
  if recipe.kept_of and recipe.fine_tune_steps and recipe.weight_bits:
    return ladder_name(None, recipe.kept_of, True)
  return None


def ladder_name(
  bits: int | None, kept_of: tuple[int, int] | None, aware: bool
) -> str:
  """Returns what a recipe of the ladder is called, such as int4_2of4_aware."""
  kept = "" if kept_of is None else f"_{kept_of[0]}of{kept_of[1]}"
  base = "float32" if bits is None else f"int{bits}"
  return f"{base}{kept}_{'aware' if aware else 'rounded'}"


# Which of the ladder are exported with static activations as well.
STATIC = tuple(
  ladder_name(bits, kept_of, True)
  for bits, kept_of in ((8, None), (4, None), (4, (2, 4)))
)
CHANGED = tuple(ladder_name(*each, True) for each in _CHANGED)


def choices(steps: int) -> list[Recipe]:
  """Returns variants of `CHANGED`, each with one thing changed.

  They are compared on held-out speech of the server, never on eval/. All begin
  with the float model, those that prune as well, so that what is compared is
  the choice and not the healing before it.

  Args:
    steps: of each fine-tuning.
  """
  recipes = []
  changes: dict[str, dict[str, Any]] = {
    "as_it_is": {},
    "fixed_scales": {"train_clips": False},
    "answers_alone": {"transcript_fraction": 0.0},
    "transcripts_alone": {"transcript_fraction": 1.0},
    "noise": {"weight_noise": 0.03},
  }
  mask_changes: dict[str, dict[str, Any]] = {
    "few_shot_masks": {
      "mask_updates": 4,
      "mask_update_every": max(1, steps // 8),
    },
    "few_shot_masks_sr_ste": {
      "mask_updates": 4,
      "mask_update_every": max(1, steps // 8),
      "dropped_decay": 2e-4,
    },
    "every_step_masks_sr_ste": {
      "mask_updates": max(1, steps // 2),
      "dropped_decay": 2e-4,
    },
  }
  for bits, kept_of in _CHANGED:
    more = mask_changes if kept_of else {}
    for change, fields in {**changes, **more}.items():
      base = dataclasses.replace(
        ladder_recipe(bits, kept_of, steps), learning_rate=_HIGH_RATE
      )
      recipes.append(
        dataclasses.replace(base, name=f"{base.name}:{change}", **fields)
      )
  return recipes

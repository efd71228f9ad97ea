"""Redoes the ablation of USM-Lite on the default corpus (synthetic speech).

  ./bazelw run //benchmarks:usm_lite [-- --quick]

Compresses the committed model by every recipe of `usm_lite_ladder.py`, exports,
and measures on the general sentences of unseen speakers. Prints the tables,
writes `benchmarks/results/usm_lite.json` and `docs/images/usm_lite.svg`.
Stopped at any moment, the same command goes on: finished rows are kept below
`--out`.
"""

from lingvo_lite.stage import entry_point

import dataclasses
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import flags, logging

from benchmarks.result_file import claims_table, kept_rows, write_result
from benchmarks.step_overhead import step_overhead
from benchmarks.usm_lite_cell import (
  Setting,
  choice_row,
  control_row,
  ladder_row,
  static_row,
)
from benchmarks.usm_lite_claims import claims, difference_interval
from benchmarks.usm_lite_figure import write_figure
from benchmarks.usm_lite_grids import grid_rows
from benchmarks.usm_lite_ladder import (
  BASELINE,
  STATIC,
  choices,
  ladder,
  ladder_recipe,
)
from benchmarks.usm_lite_table import usm_lite_tables
from lingvo_lite.audio.spec_augment import SpecAugmentConfig
from lingvo_lite.data.batching import bucketed_batches
from lingvo_lite.data.default_corpus import extract_default_corpus
from lingvo_lite.data.examples import Example, load_examples
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.data.splits import split_held_out, spread
from lingvo_lite.metrics.recognition import Recognizer
from lingvo_lite.models.model_file import load_model
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.manifest import sha256
from lingvo_lite.text.vocabulary import CharacterVocabulary
from tflite_export.accuracy import DOMAINS
from tflite_export.compress import check_fits
from tflite_export.cost import measure_speed
from tflite_export.dense_comparison import add_comparisons
from tflite_export.recipes import Recipe
from tflite_export.speech import load_speech

_QUICK = flags.DEFINE_bool(
  "quick",
  False,
  "Few recipes, steps and utterances: a check of the program in minutes. The"
  " results stay below --out.",
)
_OUT = flags.DEFINE_string(
  "out", None, "Folder for finished rows; left out: one in lingvo_lite_runs."
)
_MODEL = flags.DEFINE_string(
  "model",
  None,
  "Folder of the trained model (model.keras), such as what //fl:train wrote;"
  " left out: the committed lingvo_lite/pretrained/tiny.",
)
_STEPS = flags.DEFINE_integer("steps", 200, "Of each fine-tuning.")
_HEALING_STEPS = flags.DEFINE_integer(
  "healing_steps",
  2000,
  "Of each pruned float model, before the grid: what is pruned and trained at"
  " fewer bits begins with it.",
)

_PARTS = flags.DEFINE_list(
  "parts",
  None,
  "Any of ladder, control, static (of rungs that are made), choice, grid,"
  " step_overhead:"
  " make these rows, and keep the others that the results have. Left out: all.",
)

_PARTS_OF_ALL = (
  "ladder",
  "control",
  "static",
  "choice",
  "grid",
  "step_overhead",
)
_BATCH_SIZE = 16
_SEED = 0
_MAX_BAD_FRACTION = 0.05
_TIMED_STEPS = 24
_GRID_UTTERANCES = 8
_KNOWN_UTTERANCES = 16
# Of --quick.
_QUICK_STEPS, _QUICK_UTTERANCES, _QUICK_TIMED_STEPS = 2, 12, 2


def main(argv: Sequence[str]) -> None:
  """Measures what is not measured yet and writes the results."""
  del argv
  started = time.monotonic()
  quick = _QUICK.value
  steps = _QUICK_STEPS if quick else _STEPS.value
  healing_steps = _QUICK_STEPS if quick else _HEALING_STEPS.value
  for name, value in (("steps", steps), ("healing_steps", healing_steps)):
    if value < 1:
      raise InputError(f"found --{name}={value}, expected 1 or more")
  root = os.environ.get("BUILD_WORKSPACE_DIRECTORY", os.getcwd())
  out = entry_point.default_folder("usm_lite_quick" if quick else "usm_lite")
  if _OUT.value:
    out = entry_point.user_path(_OUT.value)
  model_folder = os.path.join(root, "lingvo_lite", "pretrained", "tiny")
  if _MODEL.value:
    model_folder = entry_point.user_path(_MODEL.value)
  model_path = os.path.join(model_folder, "model.keras")
  model, config = load_model(model_path)
  corpus = extract_default_corpus(entry_point.default_folder("corpus"))
  train, held_out = _server_speech(corpus, quick)
  probe = tf.keras.models.clone_model(model)
  recognizer = Recognizer(probe, held_out, CharacterVocabulary())

  def held_out_wer(compressed: tf.keras.Model) -> float:
    probe.set_weights(compressed.get_weights())
    return recognizer.word_error_rate()

  setting = Setting(
    model=model,
    config=config,
    model_sha256=sha256(model_path),
    make_batches=lambda: bucketed_batches(
      train, _BATCH_SIZE, _SEED, SpecAugmentConfig()
    ),
    known_speech=_known_speech(corpus),
    evaluation=_general_speech(corpus, quick),
    held_out_wer=held_out_wer,
    folder=out,
    workers=len(os.sched_getaffinity(0)),
    healing_steps=healing_steps,
  )
  parts = _parts()
  recipes = ladder(steps, healing_steps, quick) if "ladder" in parts else []
  variants = choices(steps) if "choice" in parts and not quick else []
  for recipe in [*recipes, *variants]:
    check_fits(model, recipe)
  results = os.path.join(out, "usm_lite.json")
  figure = os.path.join(out, "usm_lite.svg")
  if not quick:
    results = os.path.join(root, "benchmarks", "results", "usm_lite.json")
    figure = os.path.join(root, "docs", "images", "usm_lite.svg")
  config_of_all = {
    "quick": quick,
    "fine_tune_steps": steps,
    "batch_size": _BATCH_SIZE,
    "seed": _SEED,
    "model_sha256": setting.model_sha256,
    "utterances": len(setting.evaluation),
  }
  kept = []
  if len(parts) < len(_PARTS_OF_ALL):
    kept = [
      row
      for row in kept_rows(results, config_of_all)
      if row["kind"] not in parts
    ]
  made = []
  for index, recipe in enumerate(recipes + variants):
    logging.info(
      "%d of %d: %s", index + 1, len(recipes) + len(variants), recipe.name
    )
    make_row = ladder_row if index < len(recipes) else choice_row
    made.append(make_row(setting, recipe))
  if recipes:
    _add_figures(made[: len(recipes)])
    _add_speeds(made[: len(recipes)], recipes, setting)
  if "control" in parts:
    like = ladder_recipe(None, (2, 4), healing_steps)
    made.append(control_row(setting, like))
  if "static" in parts:
    made += _static_rows(setting, ladder(steps, healing_steps, quick))
  if "grid" in parts:
    made += grid_rows(
      setting.tflite(Recipe(BASELINE)),
      model,
      [one.pcm for one in setting.evaluation[:_GRID_UTTERANCES]],
    )
  if "step_overhead" in parts:
    timed = _QUICK_TIMED_STEPS if quick else _TIMED_STEPS
    # Of one size: what a step costs depends on the frames.
    one_size = bucketed_batches(train[:_BATCH_SIZE], _BATCH_SIZE, _SEED).take(1)
    made.append(
      {"kind": "step_overhead", **step_overhead(model, list(one_size), timed)}
    )
  rows = [
    row for kind in _PARTS_OF_ALL for row in made + kept if row["kind"] == kind
  ]
  found = claims(rows)
  write_figure(rows, figure)
  write_result(
    results,
    config={
      **config_of_all,
      "healing_steps": healing_steps,
      "speech": "synthetic; general sentences of eval/, speakers heard in no"
      " training stage",
      "words": sum(len(text.split()) for text in _texts(setting)),
    },
    seconds=time.monotonic() - started,
    rows=rows,
    claims=found,
  )
  print(usm_lite_tables(rows))
  print(claims_table(found))
  logging.info("written to %s and %s", results, figure)


def _parts() -> list[str]:
  """Returns the kinds of rows that are asked for."""
  for name in _PARTS.value or ():
    if name not in _PARTS_OF_ALL:
      raise InputError(
        f"found --parts={name}, expected any of {', '.join(_PARTS_OF_ALL)}"
      )
  return _PARTS.value or list(_PARTS_OF_ALL)


def _texts(setting: Setting) -> list[str]:
  return [one.utterance.transcript for one in setting.evaluation]


def _add_speeds(
  rows: list[dict[str, Any]], recipes: Sequence[Recipe], setting: Setting
) -> None:
  """Times all files in turns; says which are worse than what they replace."""
  speeds = measure_speed(
    [setting.tflite(recipe) for recipe in recipes], setting.evaluation
  )
  for row, speed in zip(rows, speeds, strict=True):
    row["latency_ms"] = round(speed.latency_ms, 3)
    row["rtf"] = round(speed.rtf, 5)
  add_comparisons(
    rows, [dataclasses.asdict(recipe) for recipe in recipes], speeds
  )


def _static_rows(
  setting: Setting, recipes: Sequence[Recipe]
) -> list[dict[str, Any]]:
  """Returns the rows of static activations, timed in turn with dynamic ones."""
  chosen = [recipe for recipe in recipes if recipe.name in STATIC]
  rows = [static_row(setting, recipe) for recipe in chosen]
  static = [Recipe(row["recipe"]) for row in rows]
  paths = [setting.tflite(recipe) for recipe in [*chosen, *static]]
  speeds = measure_speed(paths, setting.evaluation)
  for row, before, after in zip(
    rows, speeds[: len(rows)], speeds[len(rows) :], strict=True
  ):
    row["latency_ms"] = round(after.latency_ms, 3)
    row["latency_of_dynamic"] = round(after.latency_ms / before.latency_ms, 3)
    row["latency_of_dynamic_interval"] = [
      round(end, 4) for end in after.relative_to(before)
    ]
  return rows


def _server_speech(
  corpus: str, quick: bool
) -> tuple[list[Example], list[Example]]:
  """Returns training and held-out examples of the server's speakers."""
  parts = []
  for utterances in split_held_out(
    load_librispeech(os.path.join(corpus, "server"))
  ):
    if quick:
      utterances = utterances[: 2 * _BATCH_SIZE]
    loaded = load_examples(utterances, CharacterVocabulary(), _MAX_BAD_FRACTION)
    parts.append(loaded.examples)
  return parts[0], parts[1]


def _known_speech(corpus: str) -> list[np.ndarray]:
  """Returns some of the server's speech, from all over."""
  utterances = load_librispeech(os.path.join(corpus, "server"))
  chosen = spread(utterances, _KNOWN_UTTERANCES)
  return [one.pcm for one in load_speech(chosen, _MAX_BAD_FRACTION)[0]]


def _general_speech(corpus: str, quick: bool):
  """Returns the general sentences: the model never heard the commands."""
  utterances = [
    utterance
    for utterance in load_librispeech(os.path.join(corpus, "eval"))
    if DOMAINS.get(utterance.chapter) == "general"
  ]
  if quick:
    utterances = utterances[:_QUICK_UTTERANCES]
  return load_speech(utterances, _MAX_BAD_FRACTION)[0]


def _add_figures(rows: list[dict[str, Any]]) -> None:
  """Adds what a row is in relation to float32's."""
  base = rows[0]
  for row in rows:
    for key in ("bytes", "transport_bytes"):
      row[f"{key}_vs_float32_file"] = round(row[key] / base["bytes"], 5)
    if base["wer"]:
      row["wer_regression"] = round(row["wer"] / base["wer"] - 1, 4)
    if row["recipe"] != BASELINE:
      row["wer_difference_interval"] = [
        round(end, 5) for end in difference_interval(row, base)
      ]


if __name__ == "__main__":
  entry_point.run(main)

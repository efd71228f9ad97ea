"""Compresses a trained model by one recipe or several.

  ./bazelw run //tflite_export:compress -- --model=DIR --recipe=int4 --out=DIR

writes `model.keras` (plain Keras, weights on their grid), `recipe.json` and
`manifest.json`. With several recipes (`--recipe=int8,int4`) each writes into a
folder of its own name below `--out`. A recipe is a name (`int3_4of8`) or a file
(`--recipe=mine.json`) such as

  {"name": "sr_ste", "weight_bits": 4, "kept_of": [2, 4], "fine_tune_steps": 80,
   "mask_updates": 4, "mask_update_every": 10, "dropped_decay": 2e-4}
"""

from lingvo_lite.stage import entry_point

import dataclasses
import os
import time
from collections.abc import Sequence

from absl import flags, logging

from lingvo_lite.audio.spec_augment import SpecAugmentConfig
from lingvo_lite.data.batching import bucketed_batches
from lingvo_lite.data.default_corpus import find_corpus
from lingvo_lite.data.examples import ExampleSet, load_examples
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.data.splits import split_held_out
from lingvo_lite.models.model_file import load_model
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.manifest import write_manifest
from lingvo_lite.text.vocabulary import CharacterVocabulary
from tflite_export.compress import check_fits, compress
from tflite_export.compressed_file import save_compressed
from tflite_export.recipe_lookup import (
  NAMES_IN_WORDS,
  find_recipes,
  is_recipe_file,
)

_MODEL = flags.DEFINE_string(
  "model", None, "Folder of the trained model (model.keras).", required=True
)
_TEACHER = flags.DEFINE_string(
  "teacher",
  None,
  "Folder of the model whose answers are learned. Left out: --model. For a"
  " --model that was pruned and healed before, the dense one.",
)
_RECIPE = flags.DEFINE_list(
  "recipe", None, f"One or several of {NAMES_IN_WORDS}.", required=True
)
_CORPUS = flags.DEFINE_string(
  "corpus",
  None,
  "Folder with speech to fine-tune on below server/, in the LibriSpeech layout."
  " Left out: the default corpus (synthetic speech).",
)
_OUT = flags.DEFINE_string("out", None, "Folder to write into.", required=True)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Utterances an update.")
_SEED = flags.DEFINE_integer("seed", 0, "Where all randomness comes from.")
_MAX_BAD_FRACTION = flags.DEFINE_float(
  "max_bad_fraction",
  0.05,
  "More than this fraction of unusable utterances is an error.",
)


def main(argv: Sequence[str]) -> None:
  """Compresses and writes the artifacts."""
  del argv
  recipes = find_recipes(
    [
      entry_point.user_path(name) if is_recipe_file(name) else name
      for name in _RECIPE.value
    ]
  )
  model_path = os.path.join(entry_point.user_path(_MODEL.value), "model.keras")
  model, config = load_model(model_path)
  teacher, teacher_inputs = model, []
  if _TEACHER.value:
    teacher_inputs = [
      os.path.join(entry_point.user_path(_TEACHER.value), "model.keras")
    ]
    teacher, teacher_config = load_model(teacher_inputs[0])
    if teacher_config != config:
      raise InputError(
        f"found {teacher_inputs[0]} to be another kind of model than"
        f" {model_path}, expected the model that it was made from: name that"
        " one's folder as --teacher"
      )
  # All of them, before the first one's training.
  for recipe in recipes:
    check_fits(model, recipe)
  out = entry_point.user_path(_OUT.value)
  speech = ExampleSet([], [])
  inputs = [model_path, *teacher_inputs]
  if any(recipe.needs_speech for recipe in recipes):
    speech, read = _load_speech()
    inputs += read

  def batches():
    return bucketed_batches(
      speech.examples, _BATCH_SIZE.value, _SEED.value, SpecAugmentConfig()
    )

  for recipe in recipes:
    started = time.monotonic()
    compressed = compress(model, recipe, batches, teacher)
    folder = out if len(recipes) == 1 else os.path.join(out, recipe.name)
    outputs = save_compressed(compressed, config, folder)
    seconds = time.monotonic() - started
    losses = compressed.losses
    write_manifest(
      folder,
      stage="compress",
      config={
        "recipe": dataclasses.asdict(recipe),
        "batch_size": _BATCH_SIZE.value,
        "spec_augment": dataclasses.asdict(SpecAugmentConfig()),
        "max_bad_fraction": _MAX_BAD_FRACTION.value,
      },
      seed=_SEED.value,
      inputs=inputs,
      outputs=outputs,
      seconds=seconds,
      metrics={
        "first_loss": losses[0] if losses else None,
        "last_loss": losses[-1] if losses else None,
      },
      skipped_utterances=speech.skipped,
    )
    logging.info("%s: %.0f s; written to %s", recipe.name, seconds, folder)


def _load_speech() -> tuple[ExampleSet, list[str]]:
  """Returns the server's training speech and the paths it came from."""
  corpus = find_corpus(_CORPUS.value)
  train, _ = split_held_out(load_librispeech(os.path.join(corpus, "server")))
  speech = load_examples(train, CharacterVocabulary(), _MAX_BAD_FRACTION.value)
  return speech, [example.utterance.audio_path for example in speech.examples]


if __name__ == "__main__":
  entry_point.run(main)

"""Trains one set of weights to work at several sparsities.

  ./bazelw run //tflite_export:train_dynamic_sparsity -- --model=DIR --out=DIR

writes `model.keras` (plain Keras, the weights that all levels share),
`dynamic_sparsity.json` (which blocks each level keeps) and `manifest.json`.
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
from lingvo_lite.data.examples import load_examples
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.data.splits import split_held_out
from lingvo_lite.dynamic_sparsity.block_masks import find_block_layers
from lingvo_lite.dynamic_sparsity.dynamic_model import save_dynamic
from lingvo_lite.dynamic_sparsity.levels import SparsityLevels
from lingvo_lite.models.model_file import load_model
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.manifest import sha256, write_manifest
from lingvo_lite.text.vocabulary import CharacterVocabulary
from tflite_export.dynamic_sparsity.exportable import check_exportable
from tflite_export.dynamic_sparsity.layer_sparsity import (
  read_deltas,
  sparsity_by_importance,
  uniform_sparsity,
)
from tflite_export.dynamic_sparsity.training import (
  DynamicTraining,
  train_dynamic,
)

_MODEL = flags.DEFINE_string(
  "model", None, "Folder of the trained model (model.keras).", required=True
)
_CORPUS = flags.DEFINE_string(
  "corpus",
  None,
  "Folder with speech to train on below server/, in the LibriSpeech layout."
  " Left out: the default corpus (synthetic speech).",
)
_OUT = flags.DEFINE_string("out", None, "Folder to write into.", required=True)
_LEVELS = flags.DEFINE_list(
  "levels",
  [str(sparsity) for sparsity in SparsityLevels().sparsities],
  "Sparsities, increasing: 0.8 drops 80% of the weights.",
)
_BLOCK = flags.DEFINE_integer(
  "block",
  SparsityLevels().block,
  "Weights along a layer's inputs that are dropped together; a multiple of 16,"
  " LiteRT's block.",
)
_IMPORTANCE = flags.DEFINE_string(
  "importance",
  None,
  "importance.json of //fl:importance: the most ambient layers become the"
  " sparsest. Left out: all layers are as sparse as their level.",
)
_STEPS = flags.DEFINE_integer(
  "steps", DynamicTraining().steps, "Updates of the shared weights."
)
_SAMPLED_LEVELS = flags.DEFINE_integer(
  "sampled_levels",
  DynamicTraining().sampled_levels,
  "Levels drawn for each step beside the densest and the sparsest.",
)
_LEARNING_RATE = flags.DEFINE_float(
  "learning_rate", DynamicTraining().learning_rate, "Highest one."
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Utterances an update.")
_SEED = flags.DEFINE_integer("seed", 0, "Where all randomness comes from.")
_MAX_BAD_FRACTION = flags.DEFINE_float(
  "max_bad_fraction",
  0.05,
  "More than this fraction of unusable utterances is an error.",
)


def main(argv: Sequence[str]) -> None:
  """Trains and writes the artifacts."""
  del argv
  started = time.monotonic()
  try:
    sparsities = tuple(float(level) for level in _LEVELS.value)
  except ValueError:
    raise InputError(
      f"found --levels={','.join(_LEVELS.value)}, expected numbers in [0, 1),"
      " such as 0,0.5,0.8"
    ) from None
  levels = SparsityLevels(sparsities, _BLOCK.value)
  config = DynamicTraining(
    steps=_STEPS.value,
    sampled_levels=_SAMPLED_LEVELS.value,
    learning_rate=_LEARNING_RATE.value,
    seed=_SEED.value,
  )
  model_path = os.path.join(entry_point.user_path(_MODEL.value), "model.keras")
  model, model_config = load_model(model_path)
  layers = find_block_layers(model, levels.block)
  # Here, since training what cannot be exported would take hours for nothing.
  check_exportable(model, model_config, levels, layers.sparse)
  for name, why in layers.dense.items():
    logging.info("%s stays dense at all levels: %s", name, why)
  inputs = [model_path]
  if _IMPORTANCE.value:
    inputs.append(entry_point.user_path(_IMPORTANCE.value))
    sizes = {
      name: model.get_layer(name).kernel.shape.num_elements()
      for name in layers.sparse
    }
    deltas = read_deltas(inputs[-1], model_config, sha256(model_path))
    sparsity = sparsity_by_importance(sizes, levels, deltas)
  else:
    sparsity = uniform_sparsity(layers.sparse, levels)
  corpus = find_corpus(_CORPUS.value)
  train, _ = split_held_out(load_librispeech(os.path.join(corpus, "server")))
  speech = load_examples(train, CharacterVocabulary(), _MAX_BAD_FRACTION.value)
  dynamic = train_dynamic(
    model,
    levels,
    sparsity,
    config,
    bucketed_batches(
      speech.examples, _BATCH_SIZE.value, _SEED.value, SpecAugmentConfig()
    ),
  )
  out = entry_point.user_path(_OUT.value)
  outputs = save_dynamic(dynamic, model_config, out)
  seconds = time.monotonic() - started
  write_manifest(
    out,
    stage="train_dynamic_sparsity",
    config={
      "levels": dataclasses.asdict(levels),
      "training": dataclasses.asdict(config),
      "layer_sparsity": {name: list(row) for name, row in sparsity.items()},
      "batch_size": _BATCH_SIZE.value,
      "spec_augment": dataclasses.asdict(SpecAugmentConfig()),
      "max_bad_fraction": _MAX_BAD_FRACTION.value,
    },
    seed=_SEED.value,
    inputs=inputs
    + [example.utterance.audio_path for example in speech.examples],
    outputs=outputs,
    seconds=seconds,
    metrics={
      "first_loss": dynamic.losses[0],
      "last_loss": dynamic.losses[-1],
      "passes_a_step": config.passes(levels),
      "dense_layers": dict(dynamic.dense_layers),
    },
    skipped_utterances=speech.skipped,
  )
  logging.info(
    "%d levels of one set of weights: %.0f s; written to %s",
    len(levels.sparsities),
    seconds,
    out,
  )


if __name__ == "__main__":
  entry_point.run(main)

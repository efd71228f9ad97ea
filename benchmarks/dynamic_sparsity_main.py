"""One set of weights at several sparsities against a network a sparsity.

  ./bazelw run //benchmarks:dynamic_sparsity [-- --quick]

Trains the ladder on the default corpus (synthetic speech) from the committed
model, and for as many updates a network at each sparsity alone; prunes the
model without training; exports the ladder and measures its files, and the
block-sparse kernel alone at several widths. Prints the tables, writes
`benchmarks/results/dynamic_sparsity.json` and
`docs/images/dynamic_sparsity.svg`. Stopped at any moment, the same command goes
on: finished rows are kept below `--out`.
"""

from lingvo_lite.stage import entry_point

import dataclasses
import os
import time
from collections.abc import Sequence

import tensorflow as tf
from absl import flags, logging

from benchmarks.dynamic_sparsity_cells import (
  DYNAMIC,
  PRUNED,
  SINGLE,
  Setting,
  file_rows,
  matrix_rows,
  wer_rows,
)
from benchmarks.dynamic_sparsity_claims import claims
from benchmarks.dynamic_sparsity_figure import write_figure
from benchmarks.dynamic_sparsity_tables import (
  file_table,
  kernel_table,
  wer_table,
)
from benchmarks.result_file import claims_table, write_result
from lingvo_lite.audio.spec_augment import SpecAugmentConfig
from lingvo_lite.data.batching import bucketed_batches
from lingvo_lite.data.default_corpus import extract_default_corpus
from lingvo_lite.data.examples import load_examples
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.data.splits import split_held_out, spread
from lingvo_lite.dynamic_sparsity.block_masks import find_block_layers
from lingvo_lite.dynamic_sparsity.levels import SparsityLevels
from lingvo_lite.metrics.recognition import Recognizer
from lingvo_lite.models.model_file import load_model
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.manifest import sha256
from lingvo_lite.text.vocabulary import CharacterVocabulary
from tflite_export.accuracy import DOMAINS
from tflite_export.dynamic_sparsity.exportable import check_exportable
from tflite_export.dynamic_sparsity.training import DynamicTraining
from tflite_export.speech import load_speech

_QUICK = flags.DEFINE_bool(
  "quick",
  False,
  "One seed, two levels, few steps and utterances: a check of the program."
  " The results stay below --out.",
)
_OUT = flags.DEFINE_string(
  "out",
  None,
  "Folder for finished rows; left out: one in lingvo_lite_runs.",
)
_MODEL = flags.DEFINE_string(
  "model",
  os.path.join("lingvo_lite", "pretrained", "tiny"),
  "Folder of the trained model (model.keras); from the root of the sources.",
)
_STEPS = flags.DEFINE_integer("steps", 700, "Updates of each training.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "How often everything is trained.")

# Each is trained in every step, as often as the network of that sparsity alone.
_LEVELS = SparsityLevels((0.0, 0.5, 0.8))
# Small: what was cut this deeply needs many updates more than smooth ones.
_BATCH_SIZE = 8
_MAX_BAD_FRACTION = 0.05
# Of --quick.
_QUICK_STEPS, _QUICK_UTTERANCES = 20, 30
_QUICK_LEVELS = SparsityLevels((0.0, 0.8))


def main(argv: Sequence[str]) -> None:
  """Measures what is not measured yet and writes the results."""
  del argv
  started = time.monotonic()
  quick = _QUICK.value
  training = DynamicTraining(steps=_QUICK_STEPS if quick else _STEPS.value)
  seeds = 1 if quick else _SEEDS.value
  if seeds < 1:
    raise InputError(f"found --seeds={seeds}, expected 1 or more")
  levels = _QUICK_LEVELS if quick else _LEVELS
  root = os.environ.get("BUILD_WORKSPACE_DIRECTORY", os.getcwd())
  out = entry_point.default_folder(
    "dynamic_sparsity_quick" if quick else "dynamic_sparsity"
  )
  if _OUT.value:
    out = entry_point.user_path(_OUT.value)
  setting = _setting(root, out, training, levels, quick)
  rows = wer_rows(setting, levels, PRUNED, 0)
  for seed in range(seeds):
    rows = rows + wer_rows(setting, levels, DYNAMIC, seed)
    for sparsity in levels.sparsities:
      alone = SparsityLevels((sparsity,), levels.block)
      rows = rows + wer_rows(setting, alone, SINGLE, seed)
  rows = rows + file_rows(setting, levels, 0) + matrix_rows(setting, levels)
  found = claims(rows, levels, training.passes(levels))
  results = os.path.join(out, "dynamic_sparsity.json")
  figure = os.path.join(out, "dynamic_sparsity.svg")
  if not quick:
    results = os.path.join(
      root, "benchmarks", "results", "dynamic_sparsity.json"
    )
    figure = os.path.join(root, "docs", "images", "dynamic_sparsity.svg")
  write_figure(rows, figure)
  write_result(
    results,
    config={
      "quick": quick,
      "training": dataclasses.asdict(training),
      "seeds": seeds,
      "levels": dataclasses.asdict(levels),
      "batch_size": _BATCH_SIZE,
      "model_sha256": setting.model_sha256,
      "speech": "synthetic; general sentences of eval/, speakers heard in no"
      " training stage",
      "utterances": len(setting.spoken),
      "words": sum(rows[0]["utterance_words"]),
    },
    seconds=time.monotonic() - started,
    rows=rows,
    claims=found,
  )
  print(wer_table(rows, levels))
  print(file_table(rows))
  print(kernel_table(rows))
  print(claims_table(found))
  logging.info("written to %s and %s", results, figure)


def _setting(
  root: str,
  out: str,
  training: DynamicTraining,
  levels: SparsityLevels,
  quick: bool,
) -> Setting:
  """Loads the model and the speech."""
  model_path = os.path.join(root, _MODEL.value, "model.keras")
  model, config = load_model(model_path)
  # Here, since training what cannot be exported would take hours for nothing.
  layers = find_block_layers(model, levels.block).sparse
  check_exportable(model, config, levels, layers)
  corpus = extract_default_corpus(entry_point.default_folder("corpus"))
  server, _ = split_held_out(load_librispeech(os.path.join(corpus, "server")))
  if quick:
    server = server[: 8 * _BATCH_SIZE]
  train = load_examples(server, CharacterVocabulary(), _MAX_BAD_FRACTION)
  utterances = [
    utterance
    for utterance in load_librispeech(os.path.join(corpus, "eval"))
    if DOMAINS.get(utterance.chapter) == "general"
  ]
  if quick:
    utterances = spread(utterances, _QUICK_UTTERANCES)
  examples = load_examples(utterances, CharacterVocabulary(), _MAX_BAD_FRACTION)
  probe = tf.keras.models.clone_model(model)
  return Setting(
    model=model,
    config=config,
    model_sha256=sha256(model_path),
    training=training,
    make_batches=lambda seed: bucketed_batches(
      train.examples, _BATCH_SIZE, seed, SpecAugmentConfig()
    ),
    probe=probe,
    recognizer=Recognizer(probe, examples.examples, CharacterVocabulary()),
    spoken=load_speech(utterances, _MAX_BAD_FRACTION)[0],
    folder=out,
    workers=len(os.sched_getaffinity(0)),
  )


if __name__ == "__main__":
  entry_point.run(main)

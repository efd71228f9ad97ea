"""Trains a Conformer-CTC model on the server's public speech.

  ./bazelw run //lingvo_lite:pretrain -- --out=DIR

writes into DIR: `model.keras`; `initial.keras`, the values it began with, which
the importance probes reset layers to; `training.json`, the curve; and
`manifest.json`. Stopped at any moment, the same command goes on.

A streaming preset is trained for both uses at once: of each batch one half as
sound that comes, the other as whole utterances (docs/edge.md).
"""

from lingvo_lite.stage import entry_point

import dataclasses
import os
import shutil
import time
from collections.abc import Sequence

import tensorflow as tf
from absl import flags, logging

from lingvo_lite.audio.spec_augment import SpecAugmentConfig
from lingvo_lite.data.batching import bucketed_batches
from lingvo_lite.data.default_corpus import find_corpus
from lingvo_lite.data.examples import load_examples
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.data.splits import split_held_out
from lingvo_lite.layers.unit_dropout import RampedKeepRate
from lingvo_lite.metrics.recognition import Recognizer
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.dual_mode import full_context_twin
from lingvo_lite.models.model_file import load_model, save_model
from lingvo_lite.models.presets import PRESETS
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import read_json, write_json
from lingvo_lite.stage.manifest import write_manifest
from lingvo_lite.text.vocabulary import CharacterVocabulary
from lingvo_lite.training.central import CentralTraining, TrainingConfig
from lingvo_lite.training.ctc_objective import ctc_objective

_CORPUS = flags.DEFINE_string(
  "corpus",
  None,
  "Folder with the server's speech below server/, in the LibriSpeech layout."
  " Left out: the default corpus (synthetic speech).",
)
_OUT = flags.DEFINE_string(
  "out",
  None,
  "Folder for the model, its curve and its manifest. Left out:"
  " lingvo_lite_runs/pretrain.",
)
_PRESET = flags.DEFINE_enum(
  "preset", "tiny", sorted(PRESETS), "Size of the model."
)
_NORM = flags.DEFINE_enum(
  "norm",
  "group",
  ["group", "layer", "batch"],
  "Norm of the convolution module. Batch norm cannot be trained federated.",
)
_BEGIN_WITH = flags.DEFINE_string(
  "begin_with",
  None,
  "A model.keras of the same shape to begin with, for example to make a"
  " streaming model of one that is not. Left out: random values.",
)
_UNIT_DROPOUT = flags.DEFINE_bool(
  "unit_dropout",
  True,
  "Learn to work in parts, for clients that will train parts of the model. One"
  " that is not to be trained federated learns faster without.",
)
_STEPS = flags.DEFINE_integer("steps", 5000, "Updates.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Utterances an update.")
_LEARNING_RATE = flags.DEFINE_float(
  "learning_rate", 2e-3, "Highest learning rate, reached after the warm-up."
)
_KEEP_SNAPSHOTS = flags.DEFINE_bool(
  "keep_snapshots",
  False,
  "Keep the model of each 250th update as snapshots/step_NNNNNN.keras, for"
  " //fl:importance --checkpoints and //fl:churn.",
)
_SEED = flags.DEFINE_integer("seed", 0, "Where all randomness comes from.")
_MAX_BAD_FRACTION = flags.DEFINE_float(
  "max_bad_fraction",
  0.05,
  "More than this fraction of unusable utterances is an error.",
)
# A microphone is open before anybody speaks.
_LEADING_SILENCE_MS = 1000


def main(argv: Sequence[str]) -> None:
  """Trains and writes the artifact."""
  del argv
  started = time.monotonic()
  out = (
    entry_point.user_path(_OUT.value)
    if _OUT.value
    else entry_point.default_folder("pretrain")
  )
  config = TrainingConfig(
    steps=_STEPS.value,
    batch_size=_BATCH_SIZE.value,
    peak_learning_rate=_LEARNING_RATE.value,
    seed=_SEED.value,
  )
  model_config = dataclasses.replace(PRESETS[_PRESET.value], norm=_NORM.value)
  augment = SpecAugmentConfig(
    max_leading_silence_ms=_LEADING_SILENCE_MS if model_config.streams else 0
  )
  corpus = find_corpus(_CORPUS.value)

  vocabulary = CharacterVocabulary()
  utterances = load_librispeech(os.path.join(corpus, "server"))
  train, held_out = split_held_out(utterances)
  logging.info("reading %d utterances of server speech", len(utterances))
  train_set = load_examples(train, vocabulary, _MAX_BAD_FRACTION.value)
  held_out_set = load_examples(held_out, vocabulary, _MAX_BAD_FRACTION.value)

  model = build_ctc_model(model_config, _SEED.value)
  keep_rate = RampedKeepRate() if _UNIT_DROPOUT.value else None
  in_training = build_ctc_model(model_config, _SEED.value, keep_rate)
  logging.info(
    "training %s, %.2f M parameters, for %d updates",
    _PRESET.value,
    model.count_params() / 1e6,
    config.steps,
  )
  begun_with = []
  if _BEGIN_WITH.value:
    begun_with.append(entry_point.user_path(_BEGIN_WITH.value))
    _set_values(model, begun_with[0])
    in_training.set_weights(model.get_weights())
  initial_path = os.path.join(out, "initial.keras")
  save_model(model, model_config, initial_path)
  curve_path = os.path.join(out, "training.json")
  checkpoints = os.path.join(out, "checkpoints")
  modes = {"held_out_wer": in_training}
  if model_config.streams:
    modes["held_out_wer_full_context"] = full_context_twin(in_training)

  def objective(batch: dict[str, tf.Tensor]) -> tf.Tensor:
    if keep_rate is not None:
      keep_rate.set_progress(training.progress)
    losses = []
    for first, mode in enumerate(modes.values()):
      part = {name: value[first :: len(modes)] for name, value in batch.items()}
      losses.append(ctc_objective(mode, part))
    return sum(losses) / len(losses)

  training = CentralTraining(in_training, objective, config, checkpoints)
  if training.step:
    logging.info("going on from update %d", training.step)
  history = []
  if training.step and os.path.exists(curve_path):
    history = read_json(curve_path, "the training curve")["rows"]
  recognizers = {
    name: Recognizer(mode, held_out_set.examples, vocabulary)
    for name, mode in modes.items()
  }
  batches = bucketed_batches(
    train_set.examples,
    config.batch_size,
    config.seed,
    augment,
    start_step=training.step,
  )

  def evaluate() -> dict[str, float]:
    return {name: one.word_error_rate() for name, one in recognizers.items()}

  def keep_curve(rows) -> None:
    write_json(curve_path, {"schema_version": 1, "rows": rows})

  def keep(rows) -> None:
    keep_curve(rows)
    if _KEEP_SNAPSHOTS.value:
      model.set_weights(in_training.get_weights())
      name = f"step_{training.step:06d}.keras"
      save_model(model, model_config, os.path.join(out, "snapshots", name))

  history = training.run(batches, evaluate, history, keep)
  model.set_weights(in_training.get_weights())
  model_path = os.path.join(out, "model.keras")
  save_model(model, model_config, model_path)
  keep_curve(history)
  write_manifest(
    out,
    stage="pretrain",
    config={
      "preset": _PRESET.value,
      "model": model_config.to_dict(),
      "training": dataclasses.asdict(config),
      "spec_augment": dataclasses.asdict(augment),
      "unit_dropout": _UNIT_DROPOUT.value,
      "max_bad_fraction": _MAX_BAD_FRACTION.value,
    },
    seed=_SEED.value,
    inputs=begun_with + [u.audio_path for u in utterances],
    outputs=[model_path, initial_path, curve_path],
    seconds=history[-1]["seconds"] if history else 0.0,
    metrics={
      "parameters": model.count_params(),
      "train_utterances": len(train_set.examples),
      "held_out_utterances": len(held_out_set.examples),
      **{name: history[-1][name] for name in modes},
    },
    skipped_utterances=train_set.skipped + held_out_set.skipped,
  )
  shutil.rmtree(checkpoints, ignore_errors=True)
  logging.info(
    "held-out WER %.3f after %.0f s; written to %s",
    history[-1]["held_out_wer"],
    time.monotonic() - started,
    out,
  )


def _set_values(model: tf.keras.Model, path: str) -> None:
  """Gives a model the values of the one in a file."""
  other, config = load_model(path)
  shapes = [[v.shape for v in one.variables] for one in (model, other)]
  if shapes[0] != shapes[1]:
    raise InputError(
      f"found a model of other shapes in {path} ({config.num_blocks} blocks,"
      f" d_model {config.d_model}), expected those of --preset: begin with"
      " another one"
    )
  model.set_weights(other.get_weights())


if __name__ == "__main__":
  entry_point.run(main)

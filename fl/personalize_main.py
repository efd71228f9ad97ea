"""Measures what speakers gain from training the model on their own speech.

  ./bazelw run //fl:personalize -- --model=DIR --out=DIR

Speakers that no training has heard go over half of their utterances, each for
itself, as a client does in a round; the other half is recognised with the model
as it came and with the speaker's own. Written to --out: personalization.json
(word error rates as quantiles over speakers, who are counted and not named) and
manifest.json. The speakers' own models are not kept.
"""

from lingvo_lite.stage import entry_point

import collections  # noqa: I001
import dataclasses
import os
import time
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_federated as tff
from absl import flags, logging

from fl.data.client_data import ClientData
from fl.dropout.sub_model import flatten, variable_specs
from fl.evaluation import set_weights
from fl.personalization import (
  Personalization,
  personal_rates,
  split_alternating,
)
from fl.processes.client_work import LocalTraining
from fl.runtime.local import local_runtime
from lingvo_lite.audio.spec_augment import SpecAugmentConfig
from lingvo_lite.data.default_corpus import find_corpus
from lingvo_lite.data.examples import load_examples
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.metrics.recognition import Recognizer
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.model_file import load_model
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import write_json
from lingvo_lite.stage.manifest import write_manifest
from lingvo_lite.text.vocabulary import CharacterVocabulary
from lingvo_lite.training.ctc_objective import ctc_objective

_MODEL = flags.DEFINE_string(
  "model", None, "Folder with the trained model.keras.", required=True
)
_CORPUS = flags.DEFINE_string(
  "corpus",
  None,
  "Folder with the speakers' speech below eval/, in the LibriSpeech layout."
  " Left out: the default corpus (synthetic speech).",
)
_OUT = flags.DEFINE_string(
  "out",
  None,
  "Folder for personalization.json and manifest.json. Left out:"
  " lingvo_lite_runs/personalization.",
)
_EPOCHS = flags.DEFINE_integer(
  "local_epochs", 4, "How often a speaker's utterances are gone over."
)
_BATCH_SIZE = flags.DEFINE_integer(
  "client_batch_size", 4, "Utterances a local step."
)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 5e-4, "Of local Adam.")
_CLIP_NORM = flags.DEFINE_float(
  "client_clip_norm", 1.0, "Largest norm of a local step's gradient."
)
_SEED = flags.DEFINE_integer("seed", 0, "Where all randomness comes from.")
_MAX_BAD_FRACTION = flags.DEFINE_float(
  "max_bad_fraction",
  0.05,
  "More than this fraction of unusable utterances is an error.",
)


def main(argv: Sequence[str]) -> None:
  """Measures and writes the result."""
  del argv
  started = time.monotonic()
  for name, value in (
    ("learning_rate", _LEARNING_RATE.value),
    ("client_clip_norm", _CLIP_NORM.value),
  ):
    if not value > 0:
      raise InputError(f"found --{name}={value}, expected a positive number")
  model_path = os.path.join(entry_point.user_path(_MODEL.value), "model.keras")
  out = (
    entry_point.user_path(_OUT.value)
    if _OUT.value
    else entry_point.default_folder("personalization")
  )
  corpus = find_corpus(_CORPUS.value)
  model, model_config = load_model(model_path)
  specs = variable_specs(model)
  weights = flatten(model.trainable_variables).numpy()

  vocabulary = CharacterVocabulary()
  utterances = load_librispeech(os.path.join(corpus, "eval"))
  train, measured = split_alternating(utterances)
  train_set = load_examples(train, vocabulary, _MAX_BAD_FRACTION.value, True)
  measured_set = load_examples(
    measured, vocabulary, _MAX_BAD_FRACTION.value, False
  )
  augment = SpecAugmentConfig()
  data = ClientData(
    train_set.examples,
    _BATCH_SIZE.value,
    _EPOCHS.value,
    augment,
    _SEED.value,
  )
  of_speaker = collections.defaultdict(list)
  for example in measured_set.examples:
    of_speaker[example.utterance.speaker].append(example)
  clients = [c for c, name in enumerate(data.speakers) if of_speaker[name]]

  with local_runtime():
    logging.info("%d speakers train the model for themselves", len(clients))
    # Before the model that is used here: building it makes earlier ones
    # unusable.
    personalization = Personalization(
      specs,
      LocalTraining(
        build_model=lambda: build_ctc_model(model_config),
        objective=ctc_objective,
        # As in a round of training.
        optimizer=tff.learning.optimizers.build_adam(
          _LEARNING_RATE.value, epsilon=1e-5
        ),
        learning_rate=lambda number: tf.constant(_LEARNING_RATE.value),
        clip_norm=_CLIP_NORM.value,
        seed=_SEED.value,
      ),
      data,
    )
    personal = personalization.weights(weights, clients)

  model = build_ctc_model(model_config)
  speakers, references, before, after = [], [], [], []
  for client, own in zip(clients, personal, strict=True):
    name = data.speakers[client]
    recognizer = Recognizer(model, of_speaker[name], vocabulary)
    speakers += [name] * len(of_speaker[name])
    references += recognizer.references
    for heard, used in ((before, weights), (after, own)):
      set_weights(model, used)
      heard += recognizer.hypotheses()
  rates = personal_rates(speakers, references, before, after)
  for name in ("before", "after"):
    logging.info(
      "median word error rate %s: %.3f", name, rates[name]["wer_p50"]
    )

  path = os.path.join(out, "personalization.json")
  write_json(path, {"schema_version": 1, **rates})
  write_manifest(
    out,
    stage="personalization",
    config={
      "local_epochs": _EPOCHS.value,
      "client_batch_size": _BATCH_SIZE.value,
      "learning_rate": _LEARNING_RATE.value,
      "client_clip_norm": _CLIP_NORM.value,
      "model": model_config.to_dict(),
      "spec_augment": dataclasses.asdict(augment),
      "max_bad_fraction": _MAX_BAD_FRACTION.value,
    },
    seed=_SEED.value,
    inputs=[model_path, *(u.audio_path for u in utterances)],
    outputs=[path],
    seconds=time.monotonic() - started,
    metrics={
      "speakers_better": rates["speakers_better"],
      "speakers_worse": rates["speakers_worse"],
    },
    skipped_utterances=train_set.skipped + measured_set.skipped,
  )
  logging.info("written to %s", out)


if __name__ == "__main__":
  entry_point.run(main)

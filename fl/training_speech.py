"""The speech of a federated run: whose it is, and what it is used for."""

import dataclasses
import os
from collections.abc import Sequence

from absl import logging

from fl.data.client_data import ClientData
from fl.data.cohorts import check_cohort
from fl.training_recipe import CLIENT_AUGMENT
from fl.training_settings import TrainingSettings
from lingvo_lite.data.examples import ExampleSet, load_examples
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.data.splits import split_held_out
from lingvo_lite.data.utterance import Utterance
from lingvo_lite.text.vocabulary import CharacterVocabulary


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingSpeech:
  """What is trained and measured on.

  Attributes:
    data: the clients' batches; a speaker is a client.
    train: the clients' utterances that are trained on.
    train_set: the same, loaded.
    held_out_set: the clients' other utterances, to measure on.
    unheard_set: of speakers that no training hears.
    public: the server's utterances, to rehearse; empty if it does not.
    public_set: the same, loaded.
    used: all utterances that are one of these.
  """

  data: ClientData
  train: list[Utterance]
  train_set: ExampleSet
  held_out_set: ExampleSet
  unheard_set: ExampleSet
  public: list[Utterance]
  public_set: ExampleSet
  used: list[Utterance]

  @property
  def skipped(self) -> list[dict[str, str]]:
    """The utterances that could not be used, and why."""
    sets = (self.train_set, self.held_out_set, self.unheard_set)
    return [
      one for of_set in (*sets, self.public_set) for one in of_set.skipped
    ]


def read_speech(settings: TrainingSettings, corpus: str) -> TrainingSpeech:
  """Reads all of it.

  Args:
    settings: of the run.
    corpus: its root.

  Raises:
    InputError: some is missing, or too much of it is damaged.
  """

  def load(utterances: Sequence[Utterance], must_align: bool) -> ExampleSet:
    return load_examples(
      utterances, CharacterVocabulary(), settings.max_bad_fraction, must_align
    )

  config = settings.config
  utterances = load_librispeech(os.path.join(corpus, "clients"))
  unheard = load_librispeech(os.path.join(corpus, "eval"))
  train, held_out = split_held_out(utterances)
  check_cohort(config.cohort, len({one.speaker for one in train}))
  logging.info("reading the clients' speech, %d utterances", len(utterances))
  train_set = load(train, must_align=True)
  held_out_set = load(held_out, must_align=False)
  unheard_set = load(unheard, must_align=False)
  public: list[Utterance] = []
  public_set = ExampleSet([], [])
  if config.rehearsal_steps:
    public, _ = split_held_out(load_librispeech(os.path.join(corpus, "server")))
    logging.info("reading the server's speech, %d utterances", len(public))
    public_set = load(public, must_align=True)
  return TrainingSpeech(
    data=ClientData(
      train_set.examples,
      config.client_batch_size,
      config.local_epochs,
      CLIENT_AUGMENT,
      config.seed,
    ),
    train=train,
    train_set=train_set,
    held_out_set=held_out_set,
    unheard_set=unheard_set,
    public=public,
    public_set=public_set,
    used=[*utterances, *unheard, *public],
  )

"""Turns utterances into features and label ids, in memory."""

import dataclasses
import os
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from lingvo_lite.audio.decode import decode_audio, decode_file
from lingvo_lite.audio.log_mel import LogMel
from lingvo_lite.audio.sound_file import (
  MAX_DURATION_S,
  MIN_DURATION_S,
  SAMPLE_RATE_HZ,
  SILENCE,
)
from lingvo_lite.data.utterance import Utterance
from lingvo_lite.stage.errors import InputError
from lingvo_lite.text.vocabulary import CharacterVocabulary

# Files above this are looked at one by one, header first, so that the parallel
# readers never pull something huge into memory.
_MAX_PARALLEL_BYTES = 16 * 2**20


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
  """One utterance, ready for a model.

  Attributes:
    utterance: where it came from.
    features: float32[T, F], scaled log-mel.
    labels: int32[U], character ids.
  """

  utterance: Utterance
  features: np.ndarray
  labels: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class ExampleSet:
  """What could be loaded of a set of utterances, and what could not.

  Attributes:
    examples: in the order of the utterances.
    skipped: `{'id': ..., 'reason': ...}` for each bad utterance.
  """

  examples: list[Example]
  skipped: list[dict[str, str]]


def min_frames(labels: Sequence[int] | np.ndarray) -> int:
  """Returns the least T whose audio can carry `labels` under CTC.

  CTC needs an output frame for each label and one more between equal
  neighbours; the model makes ceil(ceil(T / 2) / 2) output frames of T.

  Args:
    labels: int[U].

  Returns:
    The least number of feature frames.
  """
  labels = np.asarray(labels)
  outputs = labels.size + int((labels[1:] == labels[:-1]).sum())
  return 4 * (outputs - 1) + 1


def load_examples(
  utterances: Sequence[Utterance],
  vocabulary: CharacterVocabulary,
  max_bad_fraction: float,
  must_align: bool = True,
) -> ExampleSet:
  """Decodes audio and makes features, on all cores.

  A bad utterance (missing, undecodable, silent, too short or too long audio; a
  transcript with unknown characters or longer than its audio allows) is left
  out and listed.

  Args:
    utterances: what to load.
    vocabulary: of the labels.
    max_bad_fraction: how many of the utterances may be bad, in [0, 1].
    must_align: whether a transcript longer than its audio allows is bad. It is
      for training: such an utterance has no CTC loss. An error rate is measured
      with False, since leaving out the fastest speech would flatter it.

  Returns:
    The examples, and what was skipped.

  Raises:
    InputError: if more than `max_bad_fraction` of the utterances are bad, or
      there is none to begin with.
  """
  if not 0 <= max_bad_fraction <= 1:
    raise InputError(
      f"found max_bad_fraction={max_bad_fraction}, expected 0 to 1: it is a "
      "fraction, not a percentage"
    )
  if not utterances:
    raise InputError("found no utterances, expected at least one")
  features: dict[int, np.ndarray] = {}
  bar = tqdm.tqdm(
    total=len(utterances), desc="decoding", unit="utt", delay=3, leave=False
  )
  with bar:
    for index, value in _decode_all(utterances):
      features[index] = value
      bar.update()
  examples, skipped = [], []
  for index, utterance in enumerate(utterances):
    try:
      examples.append(
        _make_example(
          utterance, features.pop(index, None), vocabulary, must_align
        )
      )
    except InputError as error:
      skipped.append({"id": utterance.id, "reason": str(error)})
  if len(skipped) > max_bad_fraction * len(utterances):
    fraction = len(skipped) / len(utterances)
    raise InputError(
      f"found {len(skipped)} bad of {len(utterances)} utterances "
      f"({fraction:.1%}), expected at most {max_bad_fraction:.1%}; the first "
      f"is {skipped[0]['id']}: {skipped[0]['reason']}; mend them or raise "
      "--max_bad_fraction"
    )
  return ExampleSet(examples, skipped)


def _decode_all(
  utterances: Sequence[Utterance],
) -> Iterator[tuple[int, np.ndarray]]:
  """Yields index and features of every utterance whose audio is good."""
  indices = [
    index
    for index, utterance in enumerate(utterances)
    if _bytes_on_disk(utterance.audio_path) <= _MAX_PARALLEL_BYTES
  ]
  if not indices:
    return
  log_mel = LogMel()

  def decode(
    index: tf.Tensor, path: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    samples = decode_audio(tf.io.read_file(path))
    duration_s = tf.size(samples) / SAMPLE_RATE_HZ
    energy = tf.reduce_sum(samples**2)
    good = (
      tf.math.is_finite(energy)
      & (tf.reduce_max(tf.abs(samples)) >= SILENCE)
      & (duration_s >= MIN_DURATION_S)
      & (duration_s <= MAX_DURATION_S)
    )
    return index, good, log_mel(samples[tf.newaxis])[0]

  paths = [utterances[index].audio_path for index in indices]
  dataset = tf.data.Dataset.from_tensor_slices((indices, paths))
  dataset = dataset.map(decode, tf.data.AUTOTUNE, deterministic=False)
  # What fails here is decoded once more, alone, to learn the reason.
  dataset = dataset.ignore_errors().filter(lambda _, good, __: good)
  for index, _, features in dataset.prefetch(8).as_numpy_iterator():
    yield int(index), features


def _bytes_on_disk(path: str) -> int:
  try:
    return os.path.getsize(path)
  except OSError:
    return 0  # Missing: the decoder will say so.


def _make_example(
  utterance: Utterance,
  features: np.ndarray | None,
  vocabulary: CharacterVocabulary,
  must_align: bool,
) -> Example:
  """Checks one utterance; decodes it when the parallel pass did not."""
  if not utterance.transcript:
    raise InputError("found an empty transcript, expected words")
  labels = np.array(vocabulary.encode(utterance.transcript), np.int32)
  if features is None:
    samples = decode_file(utterance.audio_path)
    features = LogMel()(samples[np.newaxis]).numpy()[0]
  needed = min_frames(labels)
  if must_align and len(features) < needed:
    raise InputError(
      f"found {len(features)} frames of audio for {labels.size} labels, "
      f"expected at least {needed}: the transcript is longer than its audio"
    )
  return Example(utterance, features, labels)

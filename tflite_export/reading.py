"""From logits to text, words and n-best, at once or chunk by chunk."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from lingvo_lite.decoding.phrase_bias import PhraseBias
from lingvo_lite.decoding.prefix_beam import BeamConfig, PrefixBeam
from lingvo_lite.decoding.words import (
  HeardLabel,
  Word,
  align,
  greedy_labels,
  group_words,
  log_softmax,
)


@dataclasses.dataclass(frozen=True)
class Hypothesis:
  """One reading of an utterance.

  Attributes:
    text: the words.
    score: logarithm of its probability, with the bonus of its phrases; of a
      greedy reading, that of its one path.
    words: the words with times and confidences.
  """

  text: str
  score: float
  words: tuple[Word, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Recognition:
  """What a model makes of one utterance.

  Attributes:
    hypotheses: best first; one, if there was no search.
    labels: int32[N], the ids of the characters of the first.
    logits: float32[T', V].
  """

  hypotheses: tuple[Hypothesis, ...]
  labels: np.ndarray
  logits: np.ndarray

  @property
  def text(self) -> str:
    """The words."""
    return self.hypotheses[0].text

  @property
  def words(self) -> tuple[Word, ...]:
    """The words with times and confidences."""
    return self.hypotheses[0].words


class Reading:
  """How logits are read.

  Args:
    characters: of the labels' ids; the blank comes after them.
    beam: how to search; None: the best label of each frame.
  """

  def __init__(self, characters: Sequence[str], beam: BeamConfig | None):
    self.characters = characters
    self.blank_id = len(characters)
    self.beam = beam
    self.bias = None
    if beam is not None and beam.phrases:
      self.bias = PhraseBias(beam.phrases, characters, beam.bonus_per_character)

  def begin(self) -> "ReadingInProgress":
    """Begins an utterance."""
    return ReadingInProgress(self)

  def of_whole(self, logits: np.ndarray, labels: np.ndarray) -> Recognition:
    """Reads a whole utterance.

    Args:
      logits: float32[T', V].
      labels: int32[N], as the graph read them.
    """
    progress = self.begin()
    progress.advance(logits)
    recognition = progress.finish()
    if self.beam is None:
      return dataclasses.replace(recognition, labels=labels)
    return recognition


class ReadingInProgress:
  """The reading of one utterance; made by `Reading.begin`."""

  def __init__(self, reading: Reading):
    self._reading = reading
    self._logits: list[np.ndarray] = []
    self._log_probs: list[np.ndarray] = []
    self._frames = 0
    self._heard: list[HeardLabel] = []
    self._search = None
    if reading.beam is not None:
      self._search = PrefixBeam(reading.beam, reading.blank_id, reading.bias)

  def advance(self, logits: np.ndarray) -> None:
    """Reads the next float32[T', V], T' >= 1."""
    log_probs = log_softmax(logits)
    last = int(self._log_probs[-1][-1].argmax()) if self._log_probs else -1
    self._logits.append(logits)
    self._log_probs.append(log_probs)
    if self._search is not None:
      self._search.advance(log_probs)
    else:
      self._heard += greedy_labels(
        log_probs, self._reading.blank_id, self._frames, last
      )
    self._frames += len(logits)

  def text(self) -> str:
    """Returns the text so far; a search may still change its mind."""
    if self._search is not None:
      return self._text(self._search.best()[0].labels)
    return self._text([one.label for one in self._heard])

  def finish(self) -> Recognition:
    """Returns what was said, with times."""
    log_probs = np.concatenate(self._log_probs)
    if self._search is None:
      # Runs that went on over the edge of a chunk are one again.
      heard = greedy_labels(log_probs, self._reading.blank_id)
      score = float(log_probs.max(-1).sum())
      hypotheses = [self._hypothesis(heard, score)]
      labels = [one.label for one in heard]
    else:
      found = self._search.best()
      hypotheses = [
        self._hypothesis(
          align(log_probs, one.labels, self._reading.blank_id), one.score
        )
        for one in found
      ]
      labels = list(found[0].labels)
    return Recognition(
      tuple(hypotheses),
      np.array(labels, np.int32),
      np.concatenate(self._logits),
    )

  def _hypothesis(
    self, heard: Sequence[HeardLabel], score: float
  ) -> Hypothesis:
    words = group_words(heard, self._reading.characters)
    return Hypothesis(self._text([one.label for one in heard]), score, words)

  def _text(self, labels: Sequence[int]) -> str:
    return "".join(self._reading.characters[label] for label in labels)

"""An utterance that is recognised while it is spoken."""

from collections.abc import Callable

import numpy as np

from lingvo_lite.stage.errors import InputError
from tflite_export.reading import ReadingInProgress, Recognition

Step = Callable[[np.ndarray, np.ndarray | None], tuple[np.ndarray, np.ndarray]]
"""(float32[S] of at most a chunk, state or None) -> (logits [T', V], state)."""


class Stream:
  """One utterance; made by `Recognizer.stream`.

  Sound may come in pieces of any length: whole chunks are recognised as soon as
  they are there, and the result does not depend on how it was cut.

  Args:
    step: recognises one chunk.
    chunk_samples: of a whole chunk.
    reading: of the logits.
  """

  def __init__(
    self, step: Step, chunk_samples: int, reading: ReadingInProgress
  ):
    self._step = step
    self._chunk_samples = chunk_samples
    self._reading = reading
    self._state: np.ndarray | None = None
    self._waiting = np.zeros(0, np.float32)
    self._finished = False

  def accept(self, pcm: np.ndarray) -> str:
    """Takes the next piece.

    Args:
      pcm: float32[S], 16 kHz mono in [-1, 1], S >= 0.

    Returns:
      The text so far.

    Raises:
      InputError: a sample is not a number, or the utterance is finished.
    """
    if self._finished:
      raise InputError(
        "found sound after the end of the utterance, expected none: begin a new"
        " stream"
      )
    waiting = np.concatenate([self._waiting, checked_pcm(pcm)])
    whole = waiting.size - waiting.size % self._chunk_samples
    for start in range(0, whole, self._chunk_samples):
      self._advance(waiting[start : start + self._chunk_samples])
    self._waiting = waiting[whole:].copy()
    return self._reading.text()

  def finish(self) -> Recognition:
    """Ends the utterance.

    Returns:
      What was said.

    Raises:
      InputError: there was no sound, or the utterance is finished.
    """
    if self._finished or (self._state is None and not self._waiting.size):
      raise InputError(
        "found no sound to finish, expected at least one sample: is the"
        " recording empty, or the stream finished before?"
      )
    if self._waiting.size:
      self._advance(self._waiting)
    self._finished = True
    return self._reading.finish()

  def _advance(self, pcm: np.ndarray) -> None:
    logits, self._state = self._step(pcm, self._state)
    self._reading.advance(logits)


def checked_pcm(pcm: np.ndarray) -> np.ndarray:
  """Returns float32[S], or raises InputError if it cannot be sound."""
  pcm = np.asarray(pcm, np.float32)
  if pcm.ndim != 1:
    raise InputError(
      f"found samples of shape {list(pcm.shape)}, expected one channel"
    )
  if not np.isfinite(pcm).all():
    raise InputError(
      "found samples that are not numbers (NaN or infinite), expected numbers"
      " in [-1, 1]: write the audio again"
    )
  return pcm

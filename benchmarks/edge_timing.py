"""Times a streaming model as someone who speaks to it would."""

import dataclasses
import time
from collections.abc import Sequence

import numpy as np
import tqdm

from lingvo_lite.audio.sound_file import SAMPLE_RATE_HZ
from lingvo_lite.stage.errors import InputError
from tflite_export.interpreter import Recognizer
from tflite_export.speech import SpokenUtterance

_LOUD = 0.05


@dataclasses.dataclass(frozen=True)
class StreamTiming:
  """What streaming some speech took.

  Attributes:
    texts: of each utterance.
    chunk_ms: of all chunks, in order.
    rtf: time to compute a second of speech.
    cpu_rtf: time of the processor, all threads, for a second of speech.
    first_word_ms: of each utterance, from the first loud sample to the first
      text on the screen, had it been spoken at that moment.
    final_ms: of each utterance, from the last sample to the whole text.
  """

  texts: tuple[str, ...]
  chunk_ms: np.ndarray
  rtf: float
  cpu_rtf: float
  first_word_ms: np.ndarray
  final_ms: np.ndarray


def time_streams(
  recognizers: Sequence[Recognizer], spoken: Sequence[SpokenUtterance]
) -> list[StreamTiming]:
  """Streams utterances, each chunk as soon as it would have been spoken.

  Nothing waits: the clock of the sound is reckoned, that of the computing
  measured. The recognisers take turns, utterance by utterance, so that a busy
  machine disturbs all alike.

  Args:
    recognizers: of .tflite files that stream.
    spoken: what each recognises.

  Returns:
    What it took each.
  """
  timers = [_Timer(recognizer) for recognizer in recognizers]
  for one in tqdm.tqdm(spoken, desc="streaming", unit="utt"):
    for timer in timers:
      timer.add(one)
  return [timer.timing() for timer in timers]


class _Timer:
  """Gathers what streaming takes one recogniser."""

  def __init__(self, recognizer: Recognizer):
    size = recognizer.chunk_samples
    if size is None:
      raise InputError(
        f"found {recognizer.path}, which does not stream, expected a file of a"
        " model that does: export one of --preset=tiny_streaming"
      )
    self._recognizer = recognizer
    self._size = size
    self._texts: list[str] = []
    self._chunk_s: list[float] = []
    self._first_word_ms: list[float] = []
    self._final_ms: list[float] = []
    self._cpu_s = 0.0
    self._speech_s = 0.0
    recognizer.stream().accept(np.zeros(4 * size, np.float32))

  def add(self, one: SpokenUtterance) -> None:
    """Streams one utterance."""
    cpu_began = time.process_time()
    stream = self._recognizer.stream()
    done_s, first_s = 0.0, None
    for start in range(0, one.pcm.size, self._size):
      piece = one.pcm[start : start + self._size]
      began = time.perf_counter()
      text = stream.accept(piece)
      if start + self._size >= one.pcm.size:
        text = stream.finish().text
        self._texts.append(text)
      taken = time.perf_counter() - began
      self._chunk_s.append(taken)
      spoken_s = (start + piece.size) / SAMPLE_RATE_HZ
      done_s = max(spoken_s, done_s) + taken
      if text and first_s is None:
        first_s = done_s
    self._cpu_s += time.process_time() - cpu_began
    if first_s is not None:
      loud = np.abs(one.pcm) > _LOUD * np.abs(one.pcm).max()
      onset_s = float(loud.argmax()) / SAMPLE_RATE_HZ
      self._first_word_ms.append(1000 * (first_s - onset_s))
    self._final_ms.append(1000 * (done_s - one.seconds))
    self._speech_s += one.seconds

  def timing(self) -> StreamTiming:
    """Returns what all the utterances took."""
    return StreamTiming(
      tuple(self._texts),
      1000 * np.array(self._chunk_s),
      sum(self._chunk_s) / self._speech_s,
      self._cpu_s / self._speech_s,
      np.array(self._first_word_ms),
      np.array(self._final_ms),
    )

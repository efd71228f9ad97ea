"""How long running a .tflite file takes, one thread."""

import dataclasses
import time
from collections.abc import Sequence

import numpy as np
import tqdm

from lingvo_lite.data.splits import spread
from tflite_export.interpreter import Recognizer
from tflite_export.speech import SpokenUtterance

_TYPICAL_SECONDS = 3.0
_ROUNDS = 30
_RATED_UTTERANCES = 24
_RESAMPLES = 5000


@dataclasses.dataclass(frozen=True)
class Speed:
  """How fast a file is.

  Attributes:
    latency_ms: median time of an utterance of about 3 s.
    rtf: time to compute a second of speech, over utterances of all lengths.
    utterance_s: how long that utterance is.
    turns_ms: each time of that utterance, in turn with the other files.
  """

  latency_ms: float
  rtf: float
  utterance_s: float
  turns_ms: tuple[float, ...]

  def relative_to(self, other: "Speed") -> tuple[float, float]:
    """Returns the 99.8% bootstrap interval of the latency, of another file's.

    So wide because many files are compared: at 95%, of two dozen equally fast
    ones every other run would call one slower.

    Args:
      other: measured in the same turns, each of which is compared with its own.
    """
    ratios = np.array(self.turns_ms) / np.array(other.turns_ms)
    chosen = np.random.default_rng(0).integers(
      0, len(ratios), [_RESAMPLES, len(ratios)]
    )
    medians = np.median(ratios[chosen], axis=1)
    low, high = np.quantile(medians, [0.001, 0.999])
    return float(low), float(high)


def measure_speed(
  paths: Sequence[str], spoken: Sequence[SpokenUtterance]
) -> list[Speed]:
  """Times files turn by turn, so that a noisy machine disturbs all alike.

  Args:
    paths: the .tflite files.
    spoken: speech to time them on.

  Returns:
    The speed of each file.
  """
  recognizers = [Recognizer(path) for path in paths]
  typical = min(spoken, key=lambda one: abs(one.seconds - _TYPICAL_SECONDS))
  rated = spread(spoken, _RATED_UTTERANCES)
  latencies = np.zeros([_ROUNDS, len(paths)])
  totals = np.zeros(len(paths))
  for recognizer in recognizers:
    recognizer.recognize(typical.pcm)
  turns = tqdm.tqdm(
    range(_ROUNDS + len(rated)), desc="timing", unit="turn", leave=False
  )
  for turn in turns:
    for index, recognizer in enumerate(recognizers):
      if turn < _ROUNDS:
        latencies[turn, index] = _seconds(recognizer, typical)
      else:
        totals[index] += _seconds(recognizer, rated[turn - _ROUNDS])
  speech_s = sum(one.seconds for one in rated)
  return [
    Speed(
      latency_ms=float(np.median(latencies[:, index]) * 1000),
      rtf=float(totals[index] / speech_s),
      utterance_s=typical.seconds,
      turns_ms=tuple((latencies[:, index] * 1000).tolist()),
    )
    for index in range(len(paths))
  ]


def _seconds(recognizer: Recognizer, one: SpokenUtterance) -> float:
  started = time.perf_counter()
  recognizer.recognize(one.pcm)
  return time.perf_counter() - started

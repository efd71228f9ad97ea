"""Sound as the .tflite files take it: samples in memory, bad files left out."""

import dataclasses
from collections.abc import Sequence
from concurrent import futures

import numpy as np
import tqdm

from lingvo_lite.audio.decode import decode_file
from lingvo_lite.audio.sound_file import SAMPLE_RATE_HZ
from lingvo_lite.data.utterance import Utterance
from lingvo_lite.stage.errors import InputError

_THREADS = 2


@dataclasses.dataclass(frozen=True, eq=False)
class SpokenUtterance:
  """An utterance and its sound.

  Attributes:
    utterance: where it came from.
    pcm: float32[S], 16 kHz mono.
  """

  utterance: Utterance
  pcm: np.ndarray

  @property
  def seconds(self) -> float:
    """How long it is."""
    return self.pcm.size / SAMPLE_RATE_HZ


def load_speech(
  utterances: Sequence[Utterance], max_bad_fraction: float
) -> tuple[list[SpokenUtterance], list[dict[str, str]]]:
  """Decodes utterances on all cores.

  Args:
    utterances: what to load.
    max_bad_fraction: how many may be bad, in [0, 1].

  Returns:
    The good ones, in order, and `{"id", "reason"}` of the others.

  Raises:
    InputError: more are bad.
  """
  spoken, skipped = [], []

  def load(utterance: Utterance) -> SpokenUtterance | InputError:
    try:
      if not utterance.transcript:
        raise InputError("found an empty transcript, expected words")
      return SpokenUtterance(utterance, decode_file(utterance.audio_path))
    except InputError as error:
      return error

  with futures.ThreadPoolExecutor(_THREADS) as pool:
    loaded = tqdm.tqdm(
      pool.map(load, utterances),
      desc="decoding",
      total=len(utterances),
      unit="utt",
      delay=3,
      leave=False,
    )
    for utterance, result in zip(utterances, loaded, strict=True):
      if isinstance(result, InputError):
        skipped.append({"id": utterance.id, "reason": str(result)})
      else:
        spoken.append(result)
  if not spoken or len(skipped) > max_bad_fraction * len(utterances):
    first = "".join(
      f"; the first is {one['id']}: {one['reason']}" for one in skipped[:1]
    )
    raise InputError(
      f"found {len(skipped)} bad of {len(utterances)} utterances, expected at"
      f" most {max_bad_fraction:.1%} and at least one good one{first}; mend"
      " them or raise --max_bad_fraction"
    )
  return spoken, skipped

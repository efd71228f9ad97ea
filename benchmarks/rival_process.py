"""Another recogniser, in a process and an environment of its own."""

import contextlib
import dataclasses
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import soundfile
import tqdm

from lingvo_lite.audio.sound_file import SAMPLE_RATE_HZ
from lingvo_lite.stage.errors import InputError
from tflite_export.speech import SpokenUtterance


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Recognisers that took turns, utterance by utterance.

  Seconds are those of the processor. With one thread they are what an idle
  machine takes; those on the wall would be our neighbours' too.

  Attributes:
    texts: what the other one made of each utterance.
    seconds: that the other one took for each, float64[N].
    our_seconds: that each of ours took, float64[K, N].
  """

  texts: tuple[str, ...]
  seconds: np.ndarray
  our_seconds: np.ndarray


class RivalProcess:
  """A process that answers each path of a WAV file with a line of JSON.

  Args:
    process: whose program printed its first line.
    about: what that line said.
  """

  def __init__(self, process: subprocess.Popen[str], about: dict[str, Any]):
    self._process = process
    self.about = about

  def recognize(self, path: str) -> tuple[str, float]:
    """Returns the text of a WAV file and the processor's seconds for it."""
    answer = _ask(self._process, path)
    return answer["text"], answer["seconds"]


@contextlib.contextmanager
def rival_process(
  python: str, program: str, settings: dict[str, Any]
) -> Iterator[RivalProcess]:
  """Runs a program of another environment.

  Args:
    python: of that environment.
    program: reads `settings` as a line of JSON and answers with one; then reads
      paths and answers each with `{"text", "seconds"}`, the processor's.
      Standard output is for answers only.
    settings: whatever the program needs.

  Raises:
    InputError: the program ended before it answered.
  """
  # Bazel's own path would hide the packages of another environment.
  environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
  with subprocess.Popen(
    [python, "-c", program],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
    env=environment,
  ) as process:
    try:
      yield RivalProcess(process, _ask(process, json.dumps(settings)))
    except (BrokenPipeError, json.JSONDecodeError) as error:
      raise InputError(
        f"found that the program for {python} ended early (its last words are"
        " above), expected it to answer: remove its environment to make it anew"
      ) from error
    finally:
      process.terminate()


def compare(
  rival: RivalProcess,
  ours: Sequence[Callable[[np.ndarray], object]],
  spoken: Sequence[SpokenUtterance],
  name: str,
) -> Comparison:
  """Lets recognisers take turns, so that a busy machine disturbs all alike.

  Args:
    rival: the other one.
    ours: each recognises float32[S] at 16 kHz.
    spoken: what to recognise.
    name: shown before the progress bar.
  """
  texts, seconds, our_seconds = [], [], []
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "sound.wav")
    for one in tqdm.tqdm(spoken, desc=name, unit="utt"):
      soundfile.write(path, one.pcm, SAMPLE_RATE_HZ, subtype="PCM_16")
      text, taken = rival.recognize(path)
      texts.append(text)
      seconds.append(taken)
      our_seconds.append([_seconds(recognize, one.pcm) for recognize in ours])
  return Comparison(tuple(texts), np.array(seconds), np.array(our_seconds).T)


def _seconds(recognize: Callable[[np.ndarray], object], pcm) -> float:
  # The first time it plans for the length.
  recognize(pcm)
  began = time.process_time()
  recognize(pcm)
  return time.process_time() - began


def _ask(process: subprocess.Popen[str], line: str) -> dict[str, Any]:
  if process.stdin is None or process.stdout is None:
    raise ValueError("found no pipes to the process")
  process.stdin.write(line + "\n")
  process.stdin.flush()
  return json.loads(process.stdout.readline())

"""PocketSphinx on the same utterances, in an environment of its own."""

import dataclasses
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence

import soundfile

from lingvo_lite.audio.sound_file import SAMPLE_RATE_HZ
from lingvo_lite.stage.errors import InputError
from tflite_export.speech import SpokenUtterance

# Its model and its language model are those of its wheel.
_PROGRAM = """
import importlib.metadata, json, sys, time, wave
from pocketsphinx import Decoder
decoder = Decoder(samprate=16000, loglevel="FATAL")
texts, seconds = [], 0.0
for path in json.load(sys.stdin):
    with wave.open(path) as file:
        pcm = file.readframes(file.getnframes())
    began = time.perf_counter()
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
    seconds += time.perf_counter() - began
    found = decoder.hyp()
    texts.append(found.hypstr.upper() if found else "")
json.dump({"texts": texts, "seconds": seconds,
           "version": importlib.metadata.version("pocketsphinx")}, sys.stdout)
"""


@dataclasses.dataclass(frozen=True)
class PocketSphinxTiming:
  """What PocketSphinx made of some speech.

  Attributes:
    texts: of each utterance.
    rtf: time to compute a second of speech, one thread.
    version: of its wheel.
  """

  texts: tuple[str, ...]
  rtf: float
  version: str


def time_pocketsphinx(
  python: str, spoken: Sequence[SpokenUtterance]
) -> PocketSphinxTiming:
  """Recognises utterances.

  Args:
    python: of an environment where pocketsphinx is installed.
    spoken: what to recognise.

  Raises:
    InputError: it is not installed there, or failed.
  """
  with tempfile.TemporaryDirectory() as folder:
    paths = []
    for index, one in enumerate(spoken):
      paths.append(os.path.join(folder, f"{index}.wav"))
      soundfile.write(paths[-1], one.pcm, SAMPLE_RATE_HZ, subtype="PCM_16")
    done = subprocess.run(
      [python, "-c", _PROGRAM],
      input=json.dumps(paths),
      capture_output=True,
      text=True,
      # Bazel's own path would hide the packages of another environment.
      env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
      check=False,
    )
  if done.returncode:
    raise InputError(
      f"found that PocketSphinx failed ({done.stderr.strip()[-200:]}), expected"
      f" it installed for {python}: run `{python} -m pip install pocketsphinx`"
    )
  answer = json.loads(done.stdout)
  return PocketSphinxTiming(
    tuple(answer["texts"]),
    answer["seconds"] / sum(one.seconds for one in spoken),
    answer["version"],
  )

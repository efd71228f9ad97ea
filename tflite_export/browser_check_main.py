"""Runs the web page in Chromium and compares it with the Python runtime.

  ./bazelw run //tflite_export:browser_check -- --page=DIR --speech=FILE

The page that `//tflite_export:package --page` wrote gets the file, with each
model of the ladder, and hears it through Chromium's fake microphone. Its texts
must be those of the Python runtime for the same samples: to the letter with
float weights; nearly with integer ones, since WebAssembly's kernels round
activations to 8 bits in their own way. `--picture` writes a picture of the
page.
"""

from lingvo_lite.stage import entry_point

import os
import tempfile
from collections.abc import Sequence

import jiwer
import numpy as np
import soundfile
from absl import flags

from lingvo_lite.audio.sound_file import SAMPLE_RATE_HZ, read_sound_file
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import read_json
from tflite_export.browser_check import run_page
from tflite_export.interpreter import Recognizer

_PAGE = flags.DEFINE_string("page", None, "Folder of the page.", required=True)
_SPEECH = flags.DEFINE_string("speech", None, "An utterance.", required=True)
_CHROMIUM = flags.DEFINE_string("chromium", "chromium", "The browser.")
_PICTURE = flags.DEFINE_string("picture", None, "Where a PNG goes.")
# The microphone opens before the page listens, and the fake one does not wait.
_SILENCE_S = 1.0
# Of the letters, where rounding decides between two that are about as likely.
_MAX_ROUNDED_FRACTION = 0.03


def main(argv: Sequence[str]) -> None:
  """Compares and prints; fails on the first text that differs."""
  del argv
  page = entry_point.user_path(_PAGE.value)
  pcm = read_sound_file(entry_point.user_path(_SPEECH.value))
  silence = np.zeros(int(_SILENCE_S * SAMPLE_RATE_HZ), np.float32)
  picture = entry_point.user_path(_PICTURE.value) if _PICTURE.value else None
  models = read_json(
    os.path.join(page, "package", "package.json"), "the page's package"
  )["models"]
  with tempfile.TemporaryDirectory() as folder:
    wav = os.path.join(folder, "sound.wav")
    padded = np.concatenate([silence, pcm, silence])
    soundfile.write(wav, padded, SAMPLE_RATE_HZ, subtype="PCM_16")
    listen_s = padded.size / SAMPLE_RATE_HZ + _SILENCE_S
    result = run_page(page, wav, _CHROMIUM.value, listen_s, picture)
    recognizers = [
      Recognizer(os.path.join(page, "package", *entry["file"].split("/")))
      for entry in models
    ]
    for recognizer, found in zip(recognizers, result.files, strict=True):
      expected = _text(recognizer, read_sound_file(wav))
      _compare(
        f"file, {found['model']}",
        found["text"],
        expected,
        _MAX_ROUNDED_FRACTION if _is_integer(recognizer) else 0.0,
      )
      print(f"  {found['loaded']} {found['speed']}")
    heard = os.path.join(folder, "heard.wav")
    with open(heard, "wb") as file:
      file.write(result.microphone.wav)
    expected = _text(recognizers[0], read_sound_file(heard))
  _compare(
    "microphone",
    result.microphone.text,
    expected,
    _MAX_ROUNDED_FRACTION if _is_integer(recognizers[0]) else 0.0,
  )
  shown = len(result.microphone.partial)
  print(f"  {shown} transcripts while it listened; {result.microphone.speed}")


def _text(recognizer: Recognizer, pcm: np.ndarray) -> str:
  stream = recognizer.stream()
  stream.accept(pcm)
  return stream.finish().text


def _is_integer(recognizer: Recognizer) -> bool:
  recipe = recognizer.description["recipe"]
  return recipe["weight_bits"] is not None or recipe["mean_bits"] is not None


def _compare(what: str, found: str, expected: str, may_differ: float) -> None:
  print(f"{what}: {found}")
  if found == expected:
    return
  difference = jiwer.cer(expected, found) if expected else 1.0
  if difference > may_differ:
    raise InputError(
      f"found {found!r} in the browser ({what}), expected {expected!r} as the"
      " Python runtime writes"
    )
  print(f"  {difference:.1%} of the letters are others in Python: {expected}")


if __name__ == "__main__":
  entry_point.run(main)

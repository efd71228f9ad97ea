"""Prints what is said in audio files, or in sound from a pipe.

  ./bazelw run //tflite_export:transcribe -- --model=int4.tflite a.wav b.ogg

With `--stream`, the text so far is printed as it grows; `-` stands for raw
sound on standard input: 16-bit samples, 16 kHz, mono.

  arecord -r 16000 -f S16_LE -t raw | \\
    ./bazelw run //tflite_export:transcribe -- --model=int4.tflite --stream -

Neither TensorFlow nor the training code is loaded.
"""

from lingvo_lite.stage import entry_point

import sys
from collections.abc import Sequence

from absl import flags

from lingvo_lite.decoding.prefix_beam import BeamConfig
from lingvo_lite.stage.errors import InputError
from tflite_export.interpreter import Recognizer
from tflite_export.reading import Recognition
from tflite_export.transcription import (
  file_pieces,
  pcm_pieces,
  transcribe_files,
  transcribe_stream,
)

_MODEL = flags.DEFINE_string(
  "model", None, "A .tflite file that this project exported.", required=True
)
_STREAM = flags.DEFINE_bool(
  "stream", False, "Recognise one file, or - for standard input, as it comes."
)
_WORDS = flags.DEFINE_bool(
  "words", False, "Print each word with its times and its confidence too."
)
_N_BEST = flags.DEFINE_integer(
  "n_best", 1, "With 2 or more: search, and print so many readings."
)
_PHRASES = flags.DEFINE_list(
  "phrases", [], "Search, and prefer these: names, commands."
)


def main(argv: Sequence[str]) -> None:
  """Prints a line a file; a bad file does not stop the others."""
  beam = None
  if _PHRASES.value or _N_BEST.value != 1:
    beam = BeamConfig(n_best=_N_BEST.value, phrases=tuple(_PHRASES.value))
  recognizer = Recognizer(entry_point.user_path(_MODEL.value), beam=beam)
  if _STREAM.value:
    _stream(recognizer, argv[1:])
    return
  paths = [entry_point.user_path(path) for path in argv[1:]]
  as_typed = dict(zip(paths, argv[1:], strict=True))
  for path, recognition in transcribe_files(recognizer, paths):
    _print(as_typed[path], recognition)


def _stream(recognizer: Recognizer, names: Sequence[str]) -> None:
  if len(names) != 1:
    raise InputError(
      f"found {len(names)} files after --stream, expected one, or - for"
      " standard input"
    )
  if names[0] == "-":
    pieces = pcm_pieces(sys.stdin.buffer)
  else:
    pieces = file_pieces(entry_point.user_path(names[0]))
  for seconds, heard in transcribe_stream(recognizer, pieces):
    if isinstance(heard, Recognition):
      _print(names[0], heard)
    else:
      print(f"{seconds:7.2f} s  {heard}", flush=True)


def _print(name: str, recognition: Recognition) -> None:
  print(f"{name}: {recognition.text}", flush=True)
  if _N_BEST.value != 1:
    for one in recognition.hypotheses:
      print(f"  {one.score:9.3f}  {one.text}")
  if _WORDS.value:
    for word in recognition.words:
      print(
        f"  {word.start_s:7.2f} {word.end_s:7.2f} s"
        f"  {word.confidence:5.3f}  {word.text}"
      )


if __name__ == "__main__":
  entry_point.run(main, positional=True)

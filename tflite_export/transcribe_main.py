"""Prints what is said in audio files.

  ./bazelw run //tflite_export:transcribe -- --model=int4.tflite a.wav b.ogg
"""

from lingvo_lite.stage import entry_point

from collections.abc import Sequence

from absl import flags

from lingvo_lite.audio.decode import decode_file
from lingvo_lite.stage.errors import InputError
from tflite_export.interpreter import TfliteRecognizer

_MODEL = flags.DEFINE_string(
  "model", None, "A .tflite file that this project exported.", required=True
)


def main(argv: Sequence[str]) -> None:
  """Transcribes each file; a bad one does not stop the others."""
  files = argv[1:]
  if not files:
    raise InputError("found no audio file, expected one or more after the flags")
  recognizer = TfliteRecognizer(entry_point.user_path(_MODEL.value))
  bad = []
  for file in files:
    try:
      pcm = decode_file(entry_point.user_path(file))
      print(f"{file}: {recognizer.recognize(pcm).text}", flush=True)
    except InputError as error:
      bad.append(str(error))
  if bad:
    raise InputError("; ".join(bad))


if __name__ == "__main__":
  entry_point.run(main, positional=True)

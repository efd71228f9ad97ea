"""Prints what is said in audio files.

./bazelw run //tflite_export:transcribe -- --model=int4.tflite a.wav b.ogg
"""

from lingvo_lite.stage import entry_point

from collections.abc import Sequence

from absl import flags

from tflite_export.interpreter import TfliteRecognizer
from tflite_export.transcription import transcribe_files

_MODEL = flags.DEFINE_string(
  "model", None, "A .tflite file that this project exported.", required=True
)


def main(argv: Sequence[str]) -> None:
  """Prints a line a file; a bad file does not stop the others."""
  recognizer = TfliteRecognizer(entry_point.user_path(_MODEL.value))
  paths = [entry_point.user_path(path) for path in argv[1:]]
  as_typed = dict(zip(paths, argv[1:], strict=True))
  for path, text in transcribe_files(recognizer, paths):
    print(f"{as_typed[path]}: {text}", flush=True)


if __name__ == "__main__":
  entry_point.run(main, positional=True)

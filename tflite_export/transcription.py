"""Audio files to text."""

from collections.abc import Iterator, Sequence

from lingvo_lite.audio.decode import decode_file
from lingvo_lite.stage.errors import InputError
from tflite_export.interpreter import TfliteRecognizer


def transcribe_files(
  recognizer: TfliteRecognizer, paths: Sequence[str]
) -> Iterator[tuple[str, str]]:
  """Yields `(path, text)` of each good file as soon as it is recognised.

  Args:
    recognizer: a loaded .tflite file.
    paths: audio files of any format, rate and channel count.

  Raises:
    InputError: after the last file, if any was bad; all of them are named.
  """
  if not paths:
    raise InputError(
      "found no audio file, expected one or more after the flags"
    )
  errors = []
  for path in paths:
    try:
      yield path, recognizer.recognize(decode_file(path)).text
    except InputError as error:
      errors.append(str(error))
  if errors:
    raise InputError("; ".join(errors))

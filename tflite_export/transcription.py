"""Audio files, or sound from a pipe, to text."""

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np

from lingvo_lite.audio.sound_file import SAMPLE_RATE_HZ, read_sound_file
from lingvo_lite.stage.errors import InputError
from tflite_export.interpreter import Recognizer
from tflite_export.reading import Recognition

_PIECE_SAMPLES = SAMPLE_RATE_HZ // 10
_BYTES_A_SAMPLE = 2
_FULL_SCALE = 2.0**15


def transcribe_files(
  recognizer: Recognizer, paths: Sequence[str]
) -> Iterator[tuple[str, Recognition]]:
  """Yields `(path, recognition)` of each good file, as soon as it is there.

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
      yield path, recognizer.recognize(read_sound_file(path))
    except InputError as error:
      errors.append(str(error))
  if errors:
    raise InputError("; ".join(errors))


def file_pieces(path: str) -> Iterator[np.ndarray]:
  """Yields a file as pieces of 0.1 s, float32[S], 16 kHz."""
  pcm = read_sound_file(path)
  for start in range(0, pcm.size, _PIECE_SAMPLES):
    yield pcm[start : start + _PIECE_SAMPLES]


def pcm_pieces(file: BinaryIO) -> Iterator[np.ndarray]:
  """Yields raw sound as it comes.

  Args:
    file: 16-bit little-endian samples, 16 kHz mono, without a header.

  Yields:
    float32[S], at most 0.1 s each.

  Raises:
    InputError: it begins as a WAV file does, or ends within a sample.
  """
  rest = b""
  first = True
  while block := file.read(_PIECE_SAMPLES * _BYTES_A_SAMPLE):
    rest += block
    if first and rest[:4] == b"RIFF":
      raise InputError(
        "found a WAV file on standard input, expected raw 16-bit samples, 16"
        " kHz mono: name the file instead of -"
      )
    first = False
    whole = len(rest) - len(rest) % _BYTES_A_SAMPLE
    yield np.frombuffer(rest[:whole], "<i2").astype(np.float32) / _FULL_SCALE
    rest = rest[whole:]
  if rest:
    raise InputError(
      "found half a sample at the end of standard input, expected 16-bit"
      " samples: is it another format, or cut?"
    )


def transcribe_stream(
  recognizer: Recognizer, pieces: Iterator[np.ndarray]
) -> Iterator[tuple[float, str | Recognition]]:
  """Recognises sound while it comes.

  Args:
    recognizer: a loaded .tflite file of a model that streams.
    pieces: float32[S] each, 16 kHz.

  Yields:
    `(seconds heard, text so far)` whenever the text is another one; last,
    `(seconds, recognition)`.
  """
  stream = recognizer.stream()
  samples, shown = 0, ""
  for piece in pieces:
    samples += piece.size
    text = stream.accept(piece)
    if text != shown:
      yield samples / SAMPLE_RATE_HZ, text
      shown = text
  yield samples / SAMPLE_RATE_HZ, stream.finish()

"""What makes sound usable, and files of it, with libsndfile and NumPy alone."""

import fractions
import mmap
import os

import numpy as np
import scipy.signal
import soundfile

from lingvo_lite.audio.header import AudioHeader, parse_header, truncated
from lingvo_lite.stage.errors import InputError

SAMPLE_RATE_HZ = 16_000
MIN_DURATION_S = 0.1
MAX_DURATION_S = 60.0

# A peak below one step of 16-bit audio is silence, whatever the codec made.
SILENCE = 2.0**-15


def read_sound_file(
  path: str, max_duration_s: float = MAX_DURATION_S
) -> np.ndarray:
  """Decodes one file as `decode.decode_file` does, without TensorFlow.

  Where speech is only recognised, loading TensorFlow would take a hundred times
  as long as the recognition. libsndfile decodes all formats here.

  Args:
    path: a WAV, FLAC, Ogg/Vorbis or MP3 file.
    max_duration_s: longest audio accepted, in seconds.

  Returns:
    float32[S], 16 kHz mono in [-1, 1].

  Raises:
    InputError: if the file is missing, empty, truncated, of another format,
      too short, too long, silent, or holds samples that are not numbers.
  """
  try:
    header = file_header(path)
    check_duration(header.duration_s, max_duration_s)
    try:
      samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
      raise truncated("its samples do not decode") from None
    if len(samples) < header.frames and header.kind != "mp3":
      raise truncated(
        f"{header.frames - len(samples)} of {header.frames} samples are missing"
      )
    mono = samples.mean(axis=1)
    if rate_hz != SAMPLE_RATE_HZ:
      mono = resample(mono, rate_hz)
    check_samples(mono, max_duration_s)
  except InputError as error:
    raise InputError(f"{path}: {error}") from None
  return np.clip(mono, -1.0, 1.0)


def check_samples(
  samples: np.ndarray, max_duration_s: float = MAX_DURATION_S
) -> None:
  """Checks decoded audio.

  Args:
    samples: float32[S], 16 kHz.
    max_duration_s: longest audio accepted, in seconds.

  Raises:
    InputError: if it is too short, too long, silent or not all numbers.
  """
  duration_s = samples.size / SAMPLE_RATE_HZ
  if duration_s < MIN_DURATION_S:
    raise InputError(
      f"found {duration_s:.4f} s of audio, expected at least "
      f"{MIN_DURATION_S} s: record it again or remove it"
    )
  check_duration(duration_s, max_duration_s)
  if not np.isfinite(samples).all():
    raise InputError(
      "found samples that are not numbers (NaN or infinite), expected "
      "numbers in [-1, 1]: write the file again"
    )
  if np.abs(samples).max() < SILENCE:
    raise InputError(
      "found digital silence (not one bit of 16 is set), expected speech: "
      "record it again or remove it"
    )


def check_duration(duration_s: float, max_duration_s: float) -> None:
  """Raises InputError if sound is longer than is accepted, both in seconds."""
  if duration_s > max_duration_s:
    raise InputError(
      f"found {duration_s:.1f} s of audio, expected at most "
      f"{max_duration_s:g} s: cut it into utterances"
    )


def file_header(path: str) -> AudioHeader:
  """Reads the header of a file without reading the whole file."""
  try:
    with open(path, "rb") as file:
      if not os.fstat(file.fileno()).st_size:
        return parse_header(b"")  # An empty file cannot be mapped.
      with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as contents:
        return parse_header(contents)
  except OSError as error:
    raise InputError(
      f"found no readable file ({error.strerror}), expected audio: check "
      "the path"
    ) from None


def resample(samples: np.ndarray, rate_hz: int) -> np.ndarray:
  """Resamples float32[S] from `rate_hz`; no delay, ceil(S * ratio) samples."""
  ratio = fractions.Fraction(SAMPLE_RATE_HZ, int(rate_hz))
  resampled = scipy.signal.resample_poly(
    samples, ratio.numerator, ratio.denominator
  )
  return resampled.astype(np.float32)

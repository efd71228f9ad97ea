"""Decodes audio files of any rate and channel count to 16 kHz mono.

tensorflow-io decodes WAV, Ogg/Vorbis and MP3; it is handed only what its
decoders can hold, since the header was read and checked before. What it cannot
do well, others do:

- FLAC: libsndfile. Where the last frame is damaged, or the header promises more
  samples than there are, tensorflow-io 0.35 never returns: one such file would
  hang a training. A damaged byte further ahead it lets pass.
- WAV of 32-bit integers, which tensorflow-io refuses: plain TensorFlow.
- Resampling: SciPy's polyphase filter. tensorflow-io's operation delays the
  signal by 2 to 4 ms and takes more than ten times as long.
"""

import functools
import io

import numpy as np
import soundfile
import tensorflow as tf
import tensorflow_io as tfio

from lingvo_lite.audio.header import KINDS, parse_header, truncated
from lingvo_lite.audio.sound_file import (
  MAX_DURATION_S,
  SAMPLE_RATE_HZ,
  check_duration,
  check_samples,
  file_header,
  resample,
)
from lingvo_lite.stage.errors import InputError


def decode_audio(
  contents: tf.Tensor, max_duration_s: float = MAX_DURATION_S
) -> tf.Tensor:
  """Decodes one file; works in `tf.data` as well as eagerly.

  Args:
    contents: string[], the bytes of a WAV, FLAC, Ogg/Vorbis or MP3 file.
    max_duration_s: longest audio decoded, in seconds, by its header.

  Returns:
    float32[S], 16 kHz mono in [-1, 1]; channels are averaged.

  Raises:
    tf.errors.OpError: if the file is too long or cannot be decoded;
      `decode_file` says why in words.
  """
  kind, rate, channels, data_start, data_bytes = tf.numpy_function(
    functools.partial(_probe, max_duration_s),
    [contents],
    [tf.int64] * 5,
    stateful=False,
  )
  wav = functools.partial(tfio.audio.decode_wav, contents)

  def wav_int32() -> tf.Tensor:
    data = tf.strings.substr(contents, data_start, data_bytes)
    return tf.reshape(tf.io.decode_raw(data, tf.int32), [-1, channels])

  def flac() -> tf.Tensor:
    samples = tf.numpy_function(
      _read_flac, [contents], tf.float32, stateful=False
    )
    return tf.ensure_shape(samples, [None, None])

  branches = {
    "wav_uint8": lambda: _mono(wav(dtype=tf.uint8), 128.0, 128.0),
    "wav_int16": lambda: _mono(wav(dtype=tf.int16), 0.0, 2.0**15),
    # 24 bits arrive as the high bits of 32.
    "wav_int24": lambda: _mono(wav(dtype=tf.int32), 0.0, 2.0**31),
    "wav_int32": lambda: _mono(wav_int32(), 0.0, 2.0**31),
    "wav_float32": lambda: _mono(wav(dtype=tf.float32), 0.0, 1.0),
    "flac": lambda: _mono(flac(), 0.0, 1.0),
    "vorbis": lambda: _mono(tfio.audio.decode_vorbis(contents), 0.0, 1.0),
    "mp3": lambda: _mono(tfio.audio.decode_mp3(contents), 0.0, 1.0),
  }
  mono = tf.switch_case(
    tf.cast(kind, tf.int32), [branches[name] for name in KINDS]
  )
  samples = tf.cond(
    tf.equal(rate, SAMPLE_RATE_HZ),
    lambda: mono,
    lambda: tf.numpy_function(
      resample, [mono, rate], tf.float32, stateful=False
    ),
  )
  samples.set_shape([None])
  # Lossy codecs and resampling overshoot full scale a little. What is no number
  # passes, to be seen by whoever checks.
  clipped = tf.clip_by_value(samples, -1.0, 1.0)
  return tf.where(tf.math.is_finite(samples), clipped, samples)


def decode_file(
  path: str, max_duration_s: float = MAX_DURATION_S
) -> np.ndarray:
  """Decodes one file, or says what is wrong with it.

  A file whose header tells that it is too long is refused undecoded and
  unread, whatever its size.

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
      contents = tf.io.read_file(path)
      samples = decode_audio(contents, max_duration_s).numpy()
    except tf.errors.OpError:
      raise truncated("its samples do not decode") from None
    check_samples(samples, max_duration_s)
  except InputError as error:
    raise InputError(f"{path}: {error}") from None
  return samples


def _probe(max_duration_s: float, contents: bytes) -> tuple[np.int64, ...]:
  """The header as numbers, for the graph."""
  header = parse_header(_as_bytes(contents))
  check_duration(header.duration_s, max_duration_s)
  return (
    np.int64(KINDS.index(header.kind)),
    np.int64(header.sample_rate_hz),
    np.int64(header.channels),
    np.int64(header.data_start),
    np.int64(header.data_bytes),
  )


def _as_bytes(contents: bytes | np.ndarray) -> bytes:
  """What `tf.numpy_function` passes: from a graph bytes, else an array."""
  return contents if isinstance(contents, bytes) else contents.item()


def _read_flac(contents: bytes) -> np.ndarray:
  """Decodes FLAC to float32[S, channels] in [-1, 1]."""
  contents = _as_bytes(contents)
  frames = parse_header(contents).frames
  try:
    samples, _ = soundfile.read(
      io.BytesIO(contents), frames, dtype="float32", always_2d=True
    )
  except soundfile.LibsndfileError:
    raise truncated("its FLAC frames are damaged") from None
  if len(samples) != frames:
    raise truncated(f"{frames - len(samples)} of {frames} samples are missing")
  return samples


def _mono(samples: tf.Tensor, zero: float, full_scale: float) -> tf.Tensor:
  """Scales [S, channels] to [-1, 1] and averages the channels."""
  scaled = (tf.cast(samples, tf.float32) - zero) / full_scale
  return tf.reduce_mean(scaled, axis=-1)

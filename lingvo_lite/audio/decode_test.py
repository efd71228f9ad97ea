"""Tests for decode."""

import os
import struct

import numpy as np
import soundfile
import tensorflow as tf
from absl.testing import parameterized

from lingvo_lite.audio.decode import decode_audio, decode_file
from lingvo_lite.stage.errors import InputError

_VARIANTS = (
  # container, subtype, rate, channels, extension, tolerance
  ("WAV", "PCM_U8", 16000, 1, "wav", 0.01),
  ("WAV", "PCM_16", 8000, 1, "wav", 0.001),
  ("WAV", "PCM_16", 44100, 2, "wav", 0.001),
  ("WAVEX", "PCM_24", 96000, 8, "wav", 0.001),
  ("WAV", "PCM_32", 48000, 3, "wav", 0.001),
  ("WAV", "FLOAT", 22050, 1, "wav", 0.001),
  ("FLAC", "PCM_S8", 16000, 1, "flac", 0.01),
  ("FLAC", "PCM_16", 16000, 1, "flac", 0.0001),
  ("FLAC", "PCM_24", 96000, 8, "flac", 0.001),
  ("OGG", "VORBIS", 16000, 1, "ogg", 0.05),
  ("OGG", "VORBIS", 44100, 2, "ogg", 0.05),
  ("MP3", "MPEG_LAYER_III", 16000, 1, "mp3", 0.05),
  ("MP3", "MPEG_LAYER_III", 44100, 2, "mp3", 0.05),
)


def _tone(rate: int, seconds: float = 1.0) -> np.ndarray:
  """440 Hz and 3 kHz; float64[S]."""
  t = np.arange(int(rate * seconds)) / rate
  return 0.3 * np.sin(2 * np.pi * 440 * t) + 0.2 * np.sin(2 * np.pi * 3000 * t)


class DecodeTest(tf.test.TestCase, parameterized.TestCase):
  def _path(self, name: str) -> str:
    return os.path.join(self.create_tempdir().full_path, name)

  def _write(self, samples, rate=16000, name="x.wav", **kwargs) -> str:
    path = self._path(name)
    soundfile.write(path, samples, rate, **kwargs)
    return path

  @parameterized.parameters(*_VARIANTS)
  def test_variants(
    self, container, subtype, rate, channels, extension, tolerance
  ):
    # The channels differ in level; their mean is the tone.
    levels = np.linspace(0.5, 1.5, channels) if channels > 1 else np.ones(1)
    path = self._write(
      _tone(rate)[:, np.newaxis] * levels,
      rate,
      "x." + extension,
      format=container,
      subtype=subtype,
    )
    samples = decode_file(path)
    self.assertEqual(samples.dtype, np.float32)
    self.assertLen(samples, 16000)
    # In time as well: no delay. The ends ring.
    self.assertAllClose(
      samples[800:-800], _tone(16000)[800:-800], atol=tolerance
    )

  def test_what_16_khz_cannot_hold_is_removed(self):
    t = np.arange(44100) / 44100
    path = self._write(0.5 * np.sin(2 * np.pi * 9500 * t), 44100)
    self.assertLess(np.abs(decode_file(path)[100:-100]).max(), 0.005)

  @parameterized.parameters(11025, 16001, 44056, 192000)
  def test_odd_rates_keep_pitch_and_time(self, rate):
    path = self._write(_tone(rate, 2.0), rate)
    samples = decode_file(path)
    self.assertNear(samples.size, 32000, 2)
    self.assertAllClose(
      samples[800:31000], _tone(16000, 2.0)[800:31000], atol=0.01
    )

  def test_in_a_dataset(self):
    paths = [
      self._write(_tone(rate), rate, f"{i}.{extension}", format=container)
      for i, (container, rate, extension) in enumerate(
        [("WAV", 44100, "wav"), ("FLAC", 16000, "flac"), ("OGG", 8000, "ogg")]
      )
    ]
    dataset = tf.data.Dataset.from_tensor_slices(paths)
    dataset = dataset.map(tf.io.read_file).map(decode_audio, 2)
    for path, samples in zip(paths, dataset, strict=True):
      self.assertAllEqual(samples, decode_file(path))

  def test_clipped_to_full_scale(self):
    path = self._write(3 * _tone(16000), subtype="FLOAT")
    self.assertEqual(np.abs(decode_file(path)).max(), 1.0)


class BadInputTest(tf.test.TestCase, parameterized.TestCase):
  def _write(self, contents: bytes, name: str = "x.wav") -> str:
    path = os.path.join(self.create_tempdir().full_path, name)
    with open(path, "wb") as file:
      file.write(contents)
    return path

  def _encode(self, samples, container="WAV", rate=16000, **kwargs) -> bytes:
    path = os.path.join(self.create_tempdir().full_path, "x")
    soundfile.write(path, samples, rate, format=container, **kwargs)
    with open(path, "rb") as file:
      return file.read()

  def _assert_refused(self, path: str, reason: str, **kwargs) -> None:
    with self.assertRaisesRegex(InputError, reason) as caught:
      decode_file(path, **kwargs)
    self.assertStartsWith(str(caught.exception), path)
    self.assertNotIn("\n", str(caught.exception))
    self.assertRegex(str(caught.exception), "found .*, expected .*: ")

  def test_missing(self):
    self._assert_refused("/nowhere/x.wav", "no readable file")
    self._assert_refused(self.create_tempdir().full_path, "no readable file")

  def test_empty(self):
    self._assert_refused(self._write(b""), "empty file")

  def test_unknown_format(self):
    self._assert_refused(self._write(b"hello " * 99), "begins with b'hell'")

  @parameterized.parameters("WAV", "FLAC", "OGG", "MP3")
  def test_truncated(self, container):
    contents = self._encode(_tone(16000), container)
    for kept in (0.01, 0.3, 0.6, 0.99):
      path = self._write(contents[: int(kept * len(contents))])
      self._assert_refused(path, "truncated or damaged")

  def test_damaged_flac_does_not_hang(self):
    # tensorflow-io returns from neither of the first two, and lets the third
    # pass.
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 16000)
    contents = self._encode(noise, "FLAC")
    packed = struct.unpack(">Q", contents[18:26])[0]
    promised = struct.pack(">Q", packed + 1000)
    last = bytearray(contents)
    last[-3] ^= 0xFF
    middle = bytearray(contents)
    middle[len(contents) // 2] ^= 0xFF
    for damaged in (
      contents[:18] + promised + contents[26:],
      bytes(last),
      bytes(middle),
    ):
      self._assert_refused(self._write(damaged), "truncated or damaged")

  @parameterized.parameters("WAV", "FLAC", "OGG")
  def test_silent(self, container):
    contents = self._encode(np.zeros(16000), container)
    self._assert_refused(self._write(contents), "digital silence")

  @parameterized.parameters(1, 1599)
  def test_too_short(self, samples):
    contents = self._encode(_tone(16000)[:samples] + 0.1)
    self._assert_refused(self._write(contents), "at least 0.1 s")

  def test_no_sample_at_all(self):
    for container in ("WAV", "FLAC"):
      contents = self._encode(np.zeros(0), container)
      self._assert_refused(self._write(contents), "found ")

  def test_not_numbers(self):
    for bad in (np.nan, np.inf):
      samples = _tone(16000)
      samples[5000] = bad
      path = self._write(self._encode(samples, subtype="FLOAT"))
      self._assert_refused(path, "not numbers")

  def test_longer_than_the_limit(self):
    path = self._write(self._encode(_tone(16000, 1.2)))
    self._assert_refused(
      path, "1.2 s of audio, .*at most 1 s", max_duration_s=1
    )
    self.assertLen(decode_file(path, max_duration_s=1.2), 19200)

  def test_an_hour_is_refused_unread(self):
    # Eight channels of 96 kHz for an hour: 5.5 GB, all of them a hole.
    size = 3600 * 96000 * 16 - 2**31
    form = struct.pack("<HHIIHH", 1, 8, 96000, 96000 * 16, 16, 16)
    header = b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt "
    header += struct.pack("<I", 16) + form + b"data" + struct.pack("<I", size)
    path = self._write(header)
    os.truncate(path, len(header) + size)
    self._assert_refused(path, "found 2201.9 s of audio, expected at most 60")

  def test_an_hour_of_compressed_silence_is_refused(self):
    contents = self._encode(np.zeros(3600 * 8000, np.int16), "FLAC", rate=8000)
    self.assertLess(len(contents), 2**20)
    self._assert_refused(self._write(contents), "3600.0 s of audio")


if __name__ == "__main__":
  tf.test.main()

"""Tests for header."""

import io
import struct

import numpy as np
import soundfile
from absl.testing import absltest, parameterized

from lingvo_lite.audio.header import parse_header
from lingvo_lite.stage.errors import InputError


def _encode(container: str, subtype: str, rate: int, channels: int) -> bytes:
  rng = np.random.default_rng(0)
  buffer = io.BytesIO()
  samples = rng.uniform(-0.3, 0.3, [rate // 2, channels])
  soundfile.write(buffer, samples, rate, format=container, subtype=subtype)
  return buffer.getvalue()


class HeaderTest(parameterized.TestCase):
  @parameterized.parameters(
    ("WAV", "PCM_U8", 8000, 1, "wav_uint8"),
    ("WAV", "PCM_16", 16000, 2, "wav_int16"),
    ("WAVEX", "PCM_24", 96000, 8, "wav_int24"),
    ("WAV", "PCM_32", 44100, 1, "wav_int32"),
    ("WAVEX", "FLOAT", 44100, 6, "wav_float32"),
    ("FLAC", "PCM_S8", 16000, 1, "flac"),
    ("FLAC", "PCM_24", 96000, 8, "flac"),
    ("OGG", "VORBIS", 44100, 2, "vorbis"),
  )
  def test_reads(self, container, subtype, rate, channels, kind):
    header = parse_header(_encode(container, subtype, rate, channels))
    self.assertEqual(header.kind, kind)
    self.assertEqual(header.sample_rate_hz, rate)
    self.assertEqual(header.channels, channels)
    self.assertEqual(header.frames, rate // 2)
    self.assertEqual(header.duration_s, 0.5)

  @parameterized.parameters((8000, 1), (16000, 1), (44100, 2), (48000, 1))
  def test_reads_mp3(self, rate, channels):
    contents = _encode("MP3", "MPEG_LAYER_III", rate, channels)
    for prefix in (b"", b"ID3\x04\0\0\0\0\x01\x05" + bytes(133) + bytes(50)):
      header = parse_header(prefix + contents)
      self.assertEqual(header.kind, "mp3")
      self.assertEqual(header.sample_rate_hz, rate)
      self.assertEqual(header.channels, channels)
      # Whole frames, and the delay of the codec.
      self.assertBetween(header.frames, rate // 2, rate // 2 + 5 * 1152)

  def test_wav_chunks_before_the_samples_are_walked(self):
    contents = _encode("WAV", "PCM_16", 16000, 1)
    extra = struct.pack("<4sI", b"LIST", 3) + b"abc\0"
    header = parse_header(contents[:12] + extra + contents[12:])
    self.assertEqual(header.frames, 8000)
    self.assertEqual(header.data_start, 44 + len(extra))
    self.assertEqual(header.data_bytes, 16000)

  @parameterized.parameters(
    ("WAV", "PCM_16"),
    ("OGG", "VORBIS"),
    ("MP3", "MPEG_LAYER_III"),
  )
  def test_truncated_anywhere(self, container, subtype):
    contents = _encode(container, subtype, 16000, 1)
    for kept in np.linspace(12, len(contents) - 1, 40).astype(int):
      with self.assertRaisesRegex(InputError, "truncated"):
        header = parse_header(contents[:kept])
        # A cut between two MP3 frames leaves a whole, shorter file.
        if header.kind == "mp3" and header.frames < 8000:
          raise InputError("truncated where no header can tell")

  def test_truncated_flac_header(self):
    with self.assertRaisesRegex(InputError, "truncated"):
      parse_header(_encode("FLAC", "PCM_16", 16000, 1)[:25])

  @parameterized.parameters(
    (b"", "found an empty file, expected WAV"),
    (b"%PDF-1.7 and so on", "begins with b'%PDF', expected WAV"),
    (b"\x00", "expected WAV"),
    (_encode("OGG", "OPUS", 16000, 1), "holds b'OpusHead', expected WAV"),
    (_encode("WAV", "DOUBLE", 16000, 1), "format 3 with 64 bits"),
    (_encode("WAV", "ULAW", 16000, 1), "format 7 with 8 bits"),
    (_encode("AIFF", "PCM_16", 16000, 1), "begins with b'FORM'"),
  )
  def test_other_files(self, contents, message):
    with self.assertRaisesRegex(InputError, message):
      parse_header(contents)

  def test_absurd_rate_and_channels(self):
    contents = bytearray(_encode("WAV", "PCM_16", 16000, 1))
    contents[24:28] = struct.pack("<I", 5)
    with self.assertRaisesRegex(InputError, "sample rate of 5 Hz"):
      parse_header(bytes(contents))
    contents = bytearray(_encode("OGG", "VORBIS", 16000, 1))
    contents[39] = 200
    with self.assertRaisesRegex(InputError, "200 channels, expected 1 to 64"):
      parse_header(bytes(contents))


if __name__ == "__main__":
  absltest.main()

"""Sound files without TensorFlow: the samples and errors are the same."""

import os

import numpy as np
import soundfile
from absl.testing import absltest, parameterized

from lingvo_lite.audio.decode import decode_file
from lingvo_lite.audio.sound_file import read_sound_file
from lingvo_lite.stage.errors import InputError


class SoundFileTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def write(self, name, samples, rate_hz=16_000, **kwargs):
    path = os.path.join(self.folder, name)
    soundfile.write(path, samples, rate_hz, **kwargs)
    return path

  @parameterized.parameters(
    ("a.wav", 16_000, {"subtype": "PCM_16"}, 1e-6),
    ("a.wav", 44_100, {"subtype": "PCM_24"}, 1e-6),
    ("a.wav", 8_000, {"subtype": "FLOAT"}, 1e-6),
    ("a.wav", 16_000, {"subtype": "PCM_U8"}, 1e-6),
    ("a.flac", 48_000, {}, 1e-6),
    ("a.ogg", 16_000, {"format": "OGG", "subtype": "VORBIS"}, 1e-3),
  )
  def test_samples_are_those_of_the_training_reader(
    self, name, rate_hz, options, limit
  ):
    seconds = np.arange(rate_hz) / rate_hz
    tones = [np.sin(2 * np.pi * hertz * seconds) for hertz in (200, 330)]
    path = self.write(name, 0.4 * np.stack(tones, -1), rate_hz, **options)
    found, expected = read_sound_file(path), decode_file(path)
    self.assertEqual(found.dtype, np.float32)
    self.assertEqual(found.shape, expected.shape)
    np.testing.assert_allclose(found, expected, atol=limit)

  def test_bad_files_are_told_alike(self):
    tone = 0.1 * np.sin(np.arange(16_000) / 10)
    whole = self.write("whole.wav", tone)
    with open(whole, "rb") as file:
      contents = file.read()
    cut = os.path.join(self.folder, "cut.wav")
    with open(cut, "wb") as file:
      file.write(contents[:9000])
    cases = (
      cut,
      os.path.join(self.folder, "none.wav"),
      self.write("silent.wav", np.zeros(16_000)),
      self.write("short.wav", tone[:10]),
      self.write("nan.wav", np.full(16_000, np.nan), subtype="FLOAT"),
    )
    for path in cases:
      errors = []
      for read in (read_sound_file, decode_file):
        with self.assertRaises(InputError) as caught:
          read(path)
        errors.append(str(caught.exception))
      self.assertEqual(errors[0], errors[1])
      self.assertIn(path, errors[0])
    with self.assertRaisesRegex(InputError, "at most 0.5 s"):
      read_sound_file(whole, max_duration_s=0.5)


if __name__ == "__main__":
  absltest.main()

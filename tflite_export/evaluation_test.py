"""Rows of the report, of small files on made-up speech; and transcription."""

import os
import tempfile

import numpy as np
import scipy.io.wavfile
from absl.testing import absltest

from lingvo_lite.data.utterance import Utterance
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import write_json
from tflite_export.compress import compress
from tflite_export.evaluation import evaluate
from tflite_export.export import export
from tflite_export.interpreter import Recognizer
from tflite_export.recipes import Recipe
from tflite_export.speech import SpokenUtterance, load_speech
from tflite_export.transcription import transcribe_files

_CONFIG = ConformerConfig(
  num_blocks=1,
  d_model=16,
  ffn_units=32,
  num_heads=2,
  conv_kernel_size=3,
  subsampling_channels=4,
  norm_groups=2,
)
_KEYS = {
  "recipe",
  "file",
  "bytes",
  "gzip_bytes",
  "transport_bytes",
  "transport_bytes_vs_float32",
  "bytes_vs_float32",
  "wer",
  "cer",
  "rtf",
  "latency_ms",
  "peak_rss_bytes",
  "flex_ops",
  "max_abs_logit_diff_vs_keras",
}


def _sound(samples):
  noise = np.random.default_rng(samples).normal(0, 0.1, samples)
  return noise.astype(np.float32)


class EvaluationTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    temporary = tempfile.TemporaryDirectory()
    cls.addClassCleanup(temporary.cleanup)
    cls.folder = temporary.name
    cls.paths = {}
    model = build_ctc_model(_CONFIG)
    for recipe in (Recipe("float32"), Recipe("int8", weight_bits=8)):
      folder = os.path.join(cls.folder, recipe.name)
      path = os.path.join(folder, f"{recipe.name}.tflite")
      compressed = compress(model, recipe, lambda: [])
      figures = export(compressed, _CONFIG, [_sound(16_000)], "noise", path)
      report = os.path.join(folder, "export.json")
      write_json(report, {"schema_version": 1, **figures})
      cls.paths[recipe.name] = path

  def spoken(self):
    return [
      SpokenUtterance(
        Utterance(str(n), "1", str(1 + n % 2), "x", "SOME WORDS"),
        _sound(8000 * n),
      )
      for n in range(1, 5)
    ]

  def test_rows_hold_what_the_report_wants(self):
    rows = evaluate(list(self.paths.values()), self.spoken())
    self.assertEqual([row["recipe"] for row in rows], ["float32", "int8"])
    for row in rows:
      self.assertContainsSubset(_KEYS, row)
      self.assertEqual(row["words"], 8)
      self.assertEqual(row["words_general"] + row["words_commands"], 8)
      self.assertEqual(row["flex_ops"], 0)
      self.assertEqual(sum(row["bytes_by_kind"].values()), row["bytes"])
      self.assertBetween(row["peak_rss_bytes"], 20e6, 400e6)
      self.assertGreater(row["latency_ms"], 0)
      self.assertAlmostEqual(
        row["bytes_vs_float32"], row["bytes"] / rows[0]["bytes"], places=4
      )
    self.assertLess(rows[1]["bytes"], rows[0]["bytes"])
    self.assertEqual(rows[1]["replaces"], "float32")
    self.assertLess(rows[1]["bytes_of_replaced"], 1)

  def test_without_a_float_file_there_are_no_shares(self):
    [row] = evaluate([self.paths["int8"]], self.spoken())
    self.assertIsNone(row["bytes_vs_float32"])

  def test_a_damaged_file_stops_it_before_time_is_spent(self):
    path = os.path.join(self.folder, "damaged.tflite")
    with open(self.paths["int8"], "rb") as whole, open(path, "wb") as file:
      file.write(whole.read()[:-100])
    with self.assertRaisesRegex(InputError, "damaged.tflite: found"):
      evaluate([self.paths["float32"], path], self.spoken())

  def test_bad_speech_is_counted(self):
    path = self.wav("good.wav", _sound(16_000))
    good = Utterance("1", "1", "1", path, "YES")
    bad = Utterance("2", "1", "1", os.path.join(self.folder, "no.wav"), "NO")
    spoken, skipped = load_speech([good, bad], max_bad_fraction=0.5)
    self.assertEqual([one.utterance.id for one in spoken], ["1"])
    self.assertEqual([one["id"] for one in skipped], ["2"])
    with self.assertRaisesRegex(InputError, "1 bad of 2 .*max_bad_fraction"):
      load_speech([good, bad], max_bad_fraction=0.4)
    with self.assertRaisesRegex(InputError, "at least one good"):
      load_speech([], max_bad_fraction=1.0)

  def wav(self, name, samples, rate_hz=16_000):
    path = os.path.join(self.folder, name)
    scipy.io.wavfile.write(path, rate_hz, (samples * 32767).astype(np.int16))
    return path

  def transcribe(self, *paths):
    """Returns the texts by path, and the error or nothing."""
    found = {}
    recognizer = Recognizer(self.paths["int8"])
    try:
      for path, text in transcribe_files(recognizer, paths):
        found[path] = text
    except InputError as error:
      return found, str(error)
    return found, ""

  def test_sound_of_any_kind_is_transcribed(self):
    one = self.wav("one.wav", _sound(16_000))
    eight = self.wav("8.wav", _sound(96_000 * 8).reshape(-1, 8) * 0.5, 96_000)
    found, error = self.transcribe(one, eight)
    self.assertEqual((list(found), error), ([one, eight], ""))

  def test_bad_audio_is_one_line_and_the_rest_is_done(self):
    good = self.wav("good.wav", _sound(16_000))
    empty = os.path.join(self.folder, "empty.wav")
    open(empty, "wb").close()
    short = self.wav("short.wav", _sound(1))
    silent = self.wav("silent.wav", np.zeros(16_000, np.float32))
    hour = self.wav("hour.wav", np.zeros(3600 * 8000, np.float32), 8000)
    with open(good, "rb") as file:
      cut = os.path.join(self.folder, "cut.wav")
      contents = file.read()
    with open(cut, "wb") as file:
      file.write(contents[: len(contents) // 2])
    for bad in (empty, short, silent, hour, cut, "no_such.wav"):
      found, error = self.transcribe(bad, good)
      self.assertEqual(list(found), [good])
      self.assertIn(os.path.basename(bad), error)
      self.assertRegex(error, "found .*expected")
      self.assertNotIn("\n", error)
    _, error = self.transcribe()
    self.assertIn("found no audio file", error)


if __name__ == "__main__":
  absltest.main()

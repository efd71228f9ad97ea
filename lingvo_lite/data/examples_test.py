"""Tests for examples."""

import math
import os
import pathlib

import numpy as np
import soundfile
from absl.testing import absltest

from lingvo_lite.audio.decode import decode_file
from lingvo_lite.audio.log_mel import LogMel
from lingvo_lite.data.examples import load_examples, min_frames
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.data.utterance import Utterance
from lingvo_lite.stage.errors import InputError
from lingvo_lite.text.vocabulary import CharacterVocabulary

_REAL_SPEECH = (
  pathlib.Path(__file__).absolute().parents[2] / "tests/fixtures/real_speech"
)


class MinFramesTest(absltest.TestCase):
  def test_by_hand(self):
    # One output frame needs one frame; each further one four more.
    self.assertEqual(min_frames([5]), 1)
    self.assertEqual(min_frames([5, 6]), 5)
    self.assertEqual(min_frames([5, 5]), 9)
    self.assertEqual(min_frames([5, 5, 5, 6, 5]), 25)

  def test_is_the_least(self):
    for labels in ([1, 2, 3], [4, 4], [1] * 7):
      outputs = len(labels) + sum(np.diff(labels) == 0)
      frames = min_frames(labels)
      self.assertEqual(math.ceil(math.ceil(frames / 2) / 2), outputs)
      fewer = frames - 1
      self.assertLess(math.ceil(math.ceil(fewer / 2) / 2), outputs)


class LoadExamplesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.vocabulary = CharacterVocabulary()

  def _utterance(
    self, name, samples=None, transcript="CALL ME", rate=16000, **kwargs
  ) -> Utterance:
    path = os.path.join(self.folder, name + ".wav")
    if samples is None:
      samples = np.random.default_rng(0).uniform(-0.3, 0.3, 16000)
    soundfile.write(path, samples, rate, **kwargs)
    return Utterance(name, "1", "1", path, transcript)

  def test_real_speech(self):
    utterances = load_librispeech(str(_REAL_SPEECH))
    self.assertLen(utterances, 12)
    loaded = load_examples(utterances, self.vocabulary, 0.0)
    self.assertEqual([e.utterance for e in loaded.examples], utterances)
    self.assertEmpty(loaded.skipped)
    for example in loaded.examples:
      self.assertEqual(
        self.vocabulary.decode(example.labels), example.utterance.transcript
      )
      self.assertEqual(example.labels.dtype, np.int32)
      samples = decode_file(example.utterance.audio_path)
      self.assertEqual(example.features.dtype, np.float32)
      np.testing.assert_allclose(
        example.features, LogMel()(samples[np.newaxis])[0], atol=1e-4
      )
    # The scale, measured on synthetic speech, suits people too.
    features = np.concatenate([e.features for e in loaded.examples])
    self.assertBetween(features.mean(), -0.5, 0.5)
    self.assertBetween(features.std(), 0.7, 1.3)

  def test_bad_utterances_are_skipped_with_their_reason(self):
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 16000)
    not_numbers = noise.copy()
    not_numbers[77] = np.nan
    good = self._utterance("good")
    truncated = self._utterance("truncated")
    os.truncate(truncated.audio_path, 20000)
    empty = self._utterance("empty")
    os.truncate(empty.audio_path, 0)
    missing = Utterance("missing", "1", "1", "/nowhere/x.flac", "CALL ME")
    cases = {
      "silent": (self._utterance("silent", np.zeros(16000)), "silence"),
      "one": (self._utterance("one", noise[:1]), "at least 0.1 s"),
      "nan": (
        self._utterance("nan", not_numbers, subtype="FLOAT"),
        "not numbers",
      ),
      "hour": (
        self._utterance("hour", np.tile(noise[:8000], 3600), rate=8000),
        "found 3600.0 s",
      ),
      "truncated": (truncated, "truncated"),
      "empty": (empty, "empty file"),
      "missing": (missing, "no readable file"),
      "digits": (self._utterance("digits", transcript="AT 10"), "'0' '1'"),
      "no_text": (self._utterance("no_text", transcript=""), "empty transc"),
      "too_much": (
        self._utterance("too_much", transcript="A BC" * 9),
        "found 100 frames of audio for 36 labels, expected at least 141",
      ),
    }
    utterances = [good] + [case[0] for case in cases.values()] + [good]
    loaded = load_examples(utterances, self.vocabulary, 0.9)
    self.assertEqual([e.utterance for e in loaded.examples], [good, good])
    self.assertEqual([s["id"] for s in loaded.skipped], list(cases))
    for skipped in loaded.skipped:
      self.assertIn(cases[skipped["id"]][1], skipped["reason"])
      self.assertNotIn("\n", skipped["reason"])

  def test_many_channels_and_large_files_are_good(self):
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, [15 * 96000, 8])
    large = self._utterance("large", noise, rate=96000)
    self.assertGreater(os.path.getsize(large.audio_path), 2**24)
    small = self._utterance("small", noise[:96000], rate=96000)
    loaded = load_examples([large, small], self.vocabulary, 0.0)
    self.assertEqual([len(e.features) for e in loaded.examples], [1500, 100])

  def test_too_many_bad_ones(self):
    utterances = [self._utterance(f"good{i}") for i in range(3)]
    utterances.insert(1, self._utterance("silent", np.zeros(16000)))
    self.assertLen(load_examples(utterances, self.vocabulary, 0.25).examples, 3)
    with self.assertRaisesRegex(
      InputError, r"found 1 bad of 4 .*\(25.0%\).*at most 24.0%.*silent: .*sil"
    ) as caught:
      load_examples(utterances, self.vocabulary, 0.24)
    self.assertNotIn("\n", str(caught.exception))

  def test_fast_speech_counts_where_nothing_is_trained(self):
    fast = self._utterance("fast", transcript="A BC" * 9)
    loaded = load_examples([fast], self.vocabulary, 0.0, must_align=False)
    self.assertLen(loaded.examples, 1)

  def test_bad_arguments(self):
    with self.assertRaisesRegex(InputError, "max_bad_fraction=5"):
      load_examples([self._utterance("x")], self.vocabulary, 5)
    with self.assertRaisesRegex(InputError, "no utterances"):
      load_examples([], self.vocabulary, 0.1)


if __name__ == "__main__":
  absltest.main()

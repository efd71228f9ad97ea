"""Tests for default_corpus."""

import collections
import os
import pathlib
from unittest import mock

from absl.testing import absltest

from lingvo_lite.data import default_corpus
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.stage.errors import InputError
from lingvo_lite.text.vocabulary import CharacterVocabulary


class DefaultCorpusTest(absltest.TestCase):
  def test_a_corpus_that_the_user_named_is_taken(self):
    with mock.patch.dict(os.environ, {"BUILD_WORKING_DIRECTORY": "/users/ann"}):
      self.assertEqual(default_corpus.find_corpus("mine"), "/users/ann/mine")
    self.assertEqual(default_corpus.corpus_description("/a/mine/"), "mine")
    self.assertEqual(
      default_corpus.corpus_description(None),
      "synthetic speech (lingvo_lite_synthetic_speech_1)",
    )

  def test_without_one_it_is_the_default_corpus_below_the_runs(self):
    folder = self.create_tempdir().full_path
    with mock.patch.dict(os.environ, {"BUILD_WORKING_DIRECTORY": folder}):
      found = default_corpus.find_corpus(None)
    self.assertEqual(
      found,
      os.path.join(folder, "lingvo_lite_runs", "corpus", default_corpus.NAME),
    )
    self.assertTrue(os.path.isdir(os.path.join(found, "eval")))

  def test_is_what_its_readme_says(self):
    folder = self.create_tempdir().full_path
    root = default_corpus.extract_default_corpus(folder)
    self.assertEqual(os.listdir(folder), [default_corpus.NAME])
    self.assertIn("synthetic", (pathlib.Path(root) / "README.md").read_text())
    speakers, vocabulary = collections.Counter(), CharacterVocabulary()
    for name, utterances, of_chapter_2 in (
      ("server", 880, 0),
      ("clients", 576, 576),
      ("eval", 360, 180),
    ):
      listed = load_librispeech(os.path.join(root, name))
      self.assertLen(listed, utterances)
      self.assertEqual(sum(u.chapter == "2" for u in listed), of_chapter_2)
      speakers.update({u.speaker for u in listed})
      for utterance in listed:
        self.assertTrue(os.path.isfile(utterance.audio_path))
        vocabulary.encode(utterance.transcript)
    # 22, 24 and 6 speakers, none in two sets.
    self.assertEqual(set(speakers.values()), {1})
    self.assertLen(speakers, 52)
    # The second time nothing is read, not even the archive.
    with mock.patch.object(default_corpus, "_ARCHIVE", "/nowhere"):
      self.assertEqual(default_corpus.extract_default_corpus(folder), root)

  def test_missing_or_other_archive(self):
    folder = self.create_tempdir().full_path
    for archive, message in (
      (os.path.join(folder, "absent.tar"), "no readable archive"),
      (self.create_tempfile(content="version 1").full_path, "found SHA-256"),
    ):
      with mock.patch.object(default_corpus, "_ARCHIVE", archive):
        with self.assertRaisesRegex(InputError, message + ".*git checkout"):
          default_corpus.extract_default_corpus(folder)
    self.assertEmpty(os.listdir(folder))

  def test_stopped_half_way_leaves_nothing(self):
    folder = self.create_tempdir().full_path
    full_disk = OSError(28, "No space left on device")
    with mock.patch("tarfile.TarFile.extractall", side_effect=full_disk):
      with self.assertRaises(OSError):
        default_corpus.extract_default_corpus(folder)
    self.assertEmpty(os.listdir(folder))


if __name__ == "__main__":
  absltest.main()

"""Tests for librispeech."""

import os
import pathlib

from absl.testing import absltest

from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.stage.errors import InputError


class LoadLibriSpeechTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.create_tempdir().full_path)

  def _chapter(self, speaker, chapter, text, audio=()):
    folder = self.root / speaker / chapter
    folder.mkdir(parents=True)
    (folder / f"{speaker}-{chapter}.trans.txt").write_bytes(text.encode())
    for name in audio:
      (folder / name).touch()
    return folder

  def test_lists_sorted_and_normalised(self):
    self._chapter(
      "7",
      "2",
      "7-2-0001 two\n7-2-0000  it\u2019s  ONE\n\n",
      ["7-2-0000.mp3", "7-2-0001.wav", "7-2-0002.ogg", "notes.txt"],
    )
    folder = self._chapter("5", "1", "5-1-0000 FIVE", ["5-1-0000.ogg"])
    (self.root / "README.md").touch()
    utterances = load_librispeech(str(self.root))
    self.assertEqual(
      [(u.id, u.speaker, u.chapter, u.transcript) for u in utterances],
      [
        ("5-1-0000", "5", "1", "FIVE"),
        ("7-2-0000", "7", "2", "IT'S ONE"),
        ("7-2-0001", "7", "2", "TWO"),
      ],
    )
    self.assertEqual(utterances[0].audio_path, str(folder / "5-1-0000.ogg"))
    self.assertEndsWith(utterances[1].audio_path, "7-2-0000.mp3")
    self.assertEndsWith(utterances[2].audio_path, "7-2-0001.wav")

  def test_transcript_without_audio_or_text_is_listed(self):
    self._chapter("5", "1", "5-1-0000 FIVE\n5-1-0001")
    first, second = load_librispeech(str(self.root))
    self.assertFalse(os.path.exists(first.audio_path))
    self.assertEqual(second.transcript, "")

  def test_missing_folder(self):
    with self.assertRaisesRegex(InputError, "no such folder.*SPEAKER/CHAPTER"):
      load_librispeech(str(self.root / "absent"))

  def test_no_transcripts(self):
    with self.assertRaisesRegex(InputError, "found no transcripts"):
      load_librispeech(str(self.root))
    # One level too deep, a common slip.
    self._chapter("5", "1", "5-1-0000 FIVE")
    with self.assertRaisesRegex(InputError, "one folder a speaker"):
      load_librispeech(str(self.root / "5"))

  def test_only_empty_transcript_files(self):
    self._chapter("5", "1", "\n")
    with self.assertRaisesRegex(InputError, "found no transcripts"):
      load_librispeech(str(self.root))

  def test_same_id_twice(self):
    self._chapter("5", "1", "5-1-0000 FIVE\n5-1-0000 SIX\n")
    with self.assertRaisesRegex(InputError, "5-1-0000 a second time"):
      load_librispeech(str(self.root))

  def test_not_utf_8(self):
    folder = self._chapter("5", "1", "")
    (folder / "5-1.trans.txt").write_bytes(b"5-1-0000 \xff\xfe\n")
    with self.assertRaisesRegex(InputError, "not UTF-8"):
      load_librispeech(str(self.root))


if __name__ == "__main__":
  absltest.main()

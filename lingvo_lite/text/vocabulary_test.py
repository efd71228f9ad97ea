"""Tests for vocabulary."""

from absl.testing import absltest

from lingvo_lite.stage.errors import InputError
from lingvo_lite.text.vocabulary import CharacterVocabulary


class CharacterVocabularyTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.vocabulary = CharacterVocabulary()

  def test_ids(self):
    self.assertEqual(self.vocabulary.encode(" 'AZ"), [0, 1, 2, 27])
    self.assertEqual(self.vocabulary.blank_id, 28)
    self.assertEqual(self.vocabulary.size, 29)
    self.assertLen(self.vocabulary.labels, 28)

  def test_decode_undoes_encode(self):
    text = "THE QUICK BROWN FOX DOESN'T JUMP"
    self.assertEqual(self.vocabulary.decode(self.vocabulary.encode(text)), text)

  def test_unknown_characters_are_named(self):
    with self.assertRaisesRegex(InputError, r"'1' '\?' 'a' in a transcript"):
      self.vocabulary.encode("OH a 1?")

  def test_ids_that_name_nothing(self):
    for wrong in (28, -1, 29):
      with self.assertRaisesRegex(InputError, f"label id {wrong} "):
        self.vocabulary.decode([0, wrong])


if __name__ == "__main__":
  absltest.main()

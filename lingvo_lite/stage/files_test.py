"""Tests of whole-or-nothing files."""

import json
import os

from absl.testing import absltest

from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import (
  read_json,
  require_file,
  whole_file,
  write_json,
)


class FilesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.path = os.path.join(self.folder, "deep", "artifact.json")

  def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(self):
    write_json(self.path, {"schema_version": 1, "value": 1})
    with self.assertRaises(RuntimeError):
      with whole_file(self.path) as temporary:
        with open(temporary, "w") as file:
          file.write("half")
        raise RuntimeError
    self.assertEqual(read_json(self.path, "a test")["value"], 1)
    self.assertEqual(os.listdir(os.path.dirname(self.path)), ["artifact.json"])

  def test_the_temporary_file_keeps_the_extension(self):
    with whole_file(self.path) as temporary:
      self.assertEndsWith(temporary, ".json")
      self.assertEqual(os.path.dirname(temporary), os.path.dirname(self.path))

  def test_a_failed_write_names_the_file(self):
    with self.assertRaises(OSError) as raised:
      with whole_file(self.path):
        raise OSError(28, "No space left on device")
    self.assertEqual(raised.exception.filename, self.path)

  def test_numbers_that_json_cannot_hold_are_refused(self):
    with self.assertRaises(ValueError):
      write_json(self.path, {"wer": float("nan")})
    self.assertFalse(os.path.exists(self.path))

  def test_what_cannot_be_read_is_told_in_one_line(self):
    cases = {
      "{": "no valid JSON",
      "": "empty",
      json.dumps({"schema_version": 9}): "schema_version 9",
      "[]": "schema_version None",
      "\udcff": "no valid JSON",
    }
    for content, words in cases.items():
      path = os.path.join(self.folder, "bad.json")
      with open(path, "w", errors="surrogateescape") as file:
        file.write(content)
      with self.assertRaisesRegex(InputError, words) as raised:
        read_json(path, "a plan")
      self.assertNotIn("\n", str(raised.exception))

  def test_a_missing_file_is_named(self):
    with self.assertRaisesRegex(InputError, "nothing_here.*expected a plan"):
      require_file(os.path.join(self.folder, "nothing_here"), "a plan")


if __name__ == "__main__":
  absltest.main()

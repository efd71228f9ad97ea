"""Tests of stage_record."""

import os
import time

from absl.testing import absltest

from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import write_json
from lingvo_lite.stage.manifest import sha256
from pipeline import stage_record


class StageRecordTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.input = self.create_tempfile("input", "speech").full_path
    self.stage = os.path.join(self.folder, "stage")

  def _describe(self, **flags):
    return stage_record.describe_command("fl.plan", flags, [self.input])

  def _finished(self, seed):
    return stage_record.finished(
      self.stage, [self.stage], self._describe(seed=seed)
    )

  def _write(self, path, text):
    with open(path, "w", encoding="utf-8") as file:
      file.write(text)

  def _run(self):
    """Does what a stage does: an artifact, then its manifest."""
    stage_record.begin(self.stage, self._describe(seed="0"))
    artifact = os.path.join(self.stage, "artifact")
    self._write(artifact, "made")
    outputs = [{"file": "artifact", "sha256": sha256(artifact)}]
    write_json(
      os.path.join(self.stage, "manifest.json"),
      {"schema_version": 1, "outputs": outputs},
    )
    stage_record.keep(self.stage, self._describe(seed="0"), seconds=3.5)

  def test_the_same_command_is_finished(self):
    self._run()
    record = self._finished("0")
    self.assertEqual(record["seconds"], 3.5)

  def test_another_flag_is_not(self):
    self._run()
    self.assertEmpty(self._finished("1"))

  def test_another_input_is_not(self):
    self._run()
    self._write(self.input, "other speech")
    self.assertEmpty(self._finished("0"))

  def test_a_changed_or_missing_artifact_is_not(self):
    self._run()
    artifact = os.path.join(self.stage, "artifact")
    self._write(artifact, "touched")
    self.assertEmpty(self._finished("0"))
    os.unlink(artifact)
    self.assertEmpty(self._finished("0"))

  def test_a_stopped_stage_is_not_finished_but_keeps_its_files(self):
    self._run()
    stage_record.begin(self.stage, self._describe(seed="1"))
    self._write(os.path.join(self.stage, "checkpoint"), "half way")
    self.assertEmpty(self._finished("1"))
    stage_record.begin(self.stage, self._describe(seed="1"))
    self.assertIn("checkpoint", os.listdir(self.stage))

  def test_what_another_command_left_is_removed(self):
    self._run()
    stage_record.begin(self.stage, self._describe(seed="1"))
    self.assertEqual(os.listdir(self.stage), ["command.json"])

  def test_somebody_elses_files_are_left_alone(self):
    os.makedirs(self.stage)
    self._write(os.path.join(self.stage, "thesis.txt"), "words")
    with self.assertRaisesRegex(InputError, "name another --out"):
      stage_record.begin(self.stage, self._describe(seed="0"))
    self.assertEqual(os.listdir(self.stage), ["thesis.txt"])

  def test_a_folder_of_speech_counts_by_names_sizes_and_times(self):
    corpus = os.path.join(self.folder, "corpus", "1")
    os.makedirs(corpus)
    speech = os.path.join(corpus, "a.wav")
    self._write(speech, "ab")

    def digest():
      description = stage_record.describe_command("fl.x", {}, [corpus])
      return description["inputs"][corpus]

    first = digest()
    self.assertEqual(digest(), first)
    os.utime(speech, (time.time(), 1))
    self.assertNotEqual(digest(), first)


if __name__ == "__main__":
  absltest.main()

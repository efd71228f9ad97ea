"""The Android sample's part without Android, compiled and run on a JVM."""

import os
import pathlib
import shutil
import subprocess

from absl.testing import absltest

_SOURCES = pathlib.Path(__file__).absolute().parents[1] / "android/speech/src"
_CHECK = "lingvolite.speech.StreamingRecognizerCheckKt"


class AndroidSpeechTest(absltest.TestCase):
  def test_compiles_and_passes_its_check(self):
    if not (shutil.which("kotlinc") and shutil.which("java")):
      self.skipTest("found no kotlinc and java (Debian: apt install kotlin)")
    jar = os.path.join(self.create_tempdir().full_path, "speech.jar")
    files = sorted(map(str, _SOURCES.rglob("*.kt")))
    self.assertLen(files, 2)
    for command in (
      ["kotlinc", *files, "-include-runtime", "-d", jar],
      ["java", "-cp", jar, _CHECK],
    ):
      done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
      )
      self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
    self.assertEqual(done.stdout, "ok\n")


if __name__ == "__main__":
  absltest.main()

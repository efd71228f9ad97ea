"""Tests of how a stage starts and fails, in processes of their own."""

import os
import subprocess
import sys

from absl.testing import absltest

from lingvo_lite.stage import entry_point

_PROGRAM = """
from lingvo_lite.stage import entry_point
from lingvo_lite.stage.errors import InputError
from absl import flags
import errno
flags.DEFINE_integer("steps", 1, "Updates.")
def main(argv):
  {body}
entry_point.run(main)
"""


def _run(body: str, *args: str) -> subprocess.CompletedProcess:
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
  return subprocess.run(
    [sys.executable, "-c", _PROGRAM.format(body=body), *args],
    capture_output=True,
    text=True,
    env=environment,
  )


class EntryPointTest(absltest.TestCase):
  def test_success(self):
    done = _run("print('made')")
    self.assertEqual((done.returncode, done.stdout), (0, "made\n"))

  def test_bad_input_is_one_line_and_status_2(self):
    done = _run("raise InputError('found a,\\n expected b')")
    self.assertEqual(done.returncode, 2)
    self.assertEqual(done.stderr, "error: found a, expected b\n")

  def test_a_full_disk_is_one_line(self):
    done = _run("raise OSError(errno.ENOSPC, 'No space', 'model.keras')")
    self.assertEqual(done.returncode, 2)
    self.assertRegex(done.stderr, r"^error: .*no space.*model\.keras.*\n$")

  def test_flags_that_do_not_exist_or_do_not_parse(self):
    for flag in ("--stepz=3", "--steps=many"):
      done = _run("pass", flag)
      self.assertEqual(done.returncode, 2)
      self.assertLen(done.stderr.splitlines(), 1)
      self.assertIn("--help", done.stderr)

  def test_stray_arguments_are_refused(self):
    done = _run("pass", "steps=3")
    self.assertEqual(done.returncode, 2)
    self.assertIn("'steps=3'", done.stderr)

  def test_a_bug_keeps_its_traceback(self):
    done = _run("raise RuntimeError('a bug')")
    self.assertNotEqual(done.returncode, 0)
    self.assertIn("Traceback", done.stderr)

  def test_paths_are_the_users(self):
    os.environ["BUILD_WORKING_DIRECTORY"] = "/user/stands/here"
    self.addCleanup(os.environ.pop, "BUILD_WORKING_DIRECTORY")
    self.assertEqual(entry_point.user_path("a/../b"), "/user/stands/here/b")
    self.assertEqual(entry_point.user_path("/absolute"), "/absolute")


if __name__ == "__main__":
  absltest.main()

"""Environments of other programs, and what is said when there are none."""

import os

from absl.testing import absltest

from benchmarks.peer_environment import NoEnvironmentError, peer_python

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class PeerEnvironmentTest(absltest.TestCase):
  def test_one_that_cannot_be_made_says_why_in_one_line(self):
    folder = self.create_tempdir()
    lock = folder.create_file("peer_lock.txt", "not a requirement\n").full_path
    with self.assertRaisesRegex(
      NoEnvironmentError, "^pip could not install peer_lock.txt, .*requirement"
    ) as caught:
      peer_python(_ROOT, lock, os.path.join(folder.full_path, "environment"))
    self.assertNotIn("\n", str(caught.exception))

  def test_one_that_was_made_from_this_lock_is_used_again(self):
    folder = self.create_tempdir()
    lock = folder.create_file("peer_lock.txt", "not a requirement\n").full_path
    made = folder.create_file("environment/interpreter.txt", "bin/python")
    os.utime(lock, (1.0, 1.0))
    self.assertEqual(
      peer_python(_ROOT, lock, os.path.dirname(made.full_path)), "bin/python"
    )
    # A newer lock asks for another one, which cannot be made.
    os.utime(made.full_path, (0.0, 0.0))
    with self.assertRaises(NoEnvironmentError):
      peer_python(_ROOT, lock, os.path.dirname(made.full_path))


if __name__ == "__main__":
  absltest.main()

"""Tests of what build_environment says when pip fails."""

from absl.testing import absltest

from tools.python import build_environment


class ExplainTest(absltest.TestCase):
  def _explain(self, *output):
    line = build_environment.explain(list(output), "folder/lock.txt")
    self.assertLen(line.splitlines(), 1)
    return line

  def test_a_hash_that_does_not_match(self):
    line = self._explain(
      "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS"
      " FILE.",
      "    tqdm==4.66.1 from simple/tqdm.whl (from -r lock.txt (line 1)):",
      "        Expected sha256 00",
      "             Got        d3",
    )
    self.assertIn("tqdm==4.66.1 whose hash is not in lock.txt", line)

  def test_a_package_that_is_not_there(self):
    line = self._explain(
      "ERROR: Could not find a version that satisfies tqdm==99.1",
      "ERROR: No matching distribution found for tqdm==99.1",
    )
    self.assertIn("found no tqdm==99.1", line)

  def test_a_full_disk(self):
    line = self._explain(
      "ERROR: Could not install packages due to an OSError: [Errno 28] No"
      " space left on device"
    )
    self.assertIn("no space left on the disk", line)

  def test_anything_else_gives_pips_first_error(self):
    line = self._explain("Collecting a", "ERROR: this", "ERROR: that")
    self.assertEndsWith(line, ": ERROR: this")
    self.assertEndsWith(self._explain(), "it printed nothing")


class LockTest(absltest.TestCase):
  def test_counts_pins_and_tells_locks_apart(self):
    one = self.create_tempfile(content="# a\na==1 \\\n    --hash=sha256:0\n")
    two = self.create_tempfile(content="a==1\nb-c==2.0\n    # via a\n")
    self.assertEqual(build_environment.count_packages(one.full_path), 1)
    self.assertEqual(build_environment.count_packages(two.full_path), 2)
    self.assertNotEqual(
      build_environment.lock_digest(one.full_path),
      build_environment.lock_digest(two.full_path),
    )


if __name__ == "__main__":
  absltest.main()

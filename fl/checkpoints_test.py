"""Checkpoints: whole ones are found, whatever lies beside them."""

import collections
import os

import numpy as np
from absl.testing import absltest

from fl.checkpoints import Checkpoints, Progress
from lingvo_lite.stage.files import PARTIAL

_STATE = collections.OrderedDict(
  weights=np.arange(3, dtype=np.float32), round_number=np.int32(7), name=b"dp"
)


def _progress(rounds):
  return Progress(
    _STATE,
    [{"round": number + 1, "loss": 0.1 * number} for number in range(rounds)],
    np.array([rounds, 0]),
  )


class CheckpointsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = os.path.join(self.create_tempdir().full_path, "deep")
    self.checkpoints = Checkpoints(self.folder, "run")

  def files(self):
    return sorted(os.listdir(self.folder))

  def test_what_is_saved_comes_back(self):
    self.assertIsNone(self.checkpoints.load(_STATE))
    self.checkpoints.save(_progress(5))
    found = self.checkpoints.load(_STATE)
    np.testing.assert_array_equal(found.state["weights"], [0, 1, 2])
    self.assertEqual(found.state["weights"].dtype, np.float32)
    self.assertEqual(found.state["round_number"], 7)
    self.assertEqual(found.state["name"], b"dp")
    self.assertEqual(found.rows, _progress(5).rows)
    np.testing.assert_array_equal(found.participations, [5, 0])

  def test_the_newest_two_are_kept_and_all_removed_at_the_end(self):
    for rounds in (5, 10, 15):
      self.checkpoints.save(_progress(rounds))
    self.assertLen(self.files(), 2)
    self.assertLen(self.checkpoints.load(_STATE).rows, 15)
    self.checkpoints.remove()
    self.assertEmpty(self.files())

  def test_what_a_kill_left_half_written_goes(self):
    self.checkpoints.save(_progress(5))
    half = os.path.join(self.folder, f"{PARTIAL}abc.npz")
    with open(half, "wb") as file:
      file.write(b"PK")
    self.assertLen(self.checkpoints.load(_STATE).rows, 5)
    self.assertFalse(os.path.exists(half))

  def test_any_damage_to_the_newest_is_noticed_and_named(self):
    self.checkpoints.save(_progress(5))
    self.checkpoints.save(_progress(10))
    path = os.path.join(self.folder, self.files()[-1])
    with open(path, "rb") as file:
      whole = file.read()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (b"", whole[:10], whole[:-1], bytes(flipped), whole + b"x"):
      with open(path, "wb") as file:
        file.write(damaged)
      with self.assertLogs(level="WARNING") as logs:
        self.assertLen(self.checkpoints.load(_STATE).rows, 5)
      self.assertIn(path, logs.output[0])
    with open(path, "wb") as file:
      file.write(whole)
    self.assertLen(self.checkpoints.load(_STATE).rows, 10)

  def test_other_runs_in_the_folder_are_neither_used_nor_removed(self):
    other = Checkpoints(self.folder, "another run")
    other.save(_progress(40))
    self.assertIsNone(self.checkpoints.load(_STATE))
    for rounds in (5, 10, 15):
      self.checkpoints.save(_progress(rounds))
    self.assertLen(self.checkpoints.load(_STATE).rows, 15)
    self.checkpoints.remove()
    self.assertLen(other.load(_STATE).rows, 40)


if __name__ == "__main__":
  absltest.main()

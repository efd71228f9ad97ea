"""What people see of a run while it goes on."""

import csv
import os

import tensorflow as tf
from absl.testing import absltest

from fl.round_log import RoundLog


def _row(number, loss):
  return {"round": number, "loss": loss, "churn": {"front": 0.5}}


class RoundLogTest(absltest.TestCase):
  def events(self, folder):
    found = {}
    for name in sorted(os.listdir(os.path.join(folder, "tensorboard"))):
      path = os.path.join(folder, "tensorboard", name)
      for event in tf.compat.v1.train.summary_iterator(path):
        for value in event.summary.value:
          found[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    return found

  def test_rounds_are_in_the_table_and_on_the_board(self):
    folder = self.create_tempdir().full_path
    log = RoundLog(
      folder,
      {
        "phone": {"block_00/ffn_start": 0.25, "block_01/conv": 1.0},
        "watch": {"block_00/ffn_start": 0.125, "block_01/conv": 0.5},
      },
    )
    log.write(_row(1, 3.0))
    log.write(_row(2, 2.0))
    # A resumed run does its last rounds again.
    RoundLog(folder, {"phone": {"block_00/ffn_start": 0.5}}).write(_row(2, 1.0))
    with open(os.path.join(folder, "rounds.csv")) as file:
      rows = list(csv.DictReader(file))
    self.assertEqual([float(row["loss"]) for row in rows], [3.0, 1.0])
    events = self.events(folder)
    self.assertEqual(events["loss", 1], 3.0)
    self.assertEqual(events["churn/front", 1], 0.5)
    self.assertEqual(events["keep_rate/phone/block_00/ffn_start", 1], 0.25)
    self.assertEqual(events["keep_rate/phone/block_00/ffn_start", 2], 0.5)
    self.assertEqual(events["keep_rate/phone/block_01/conv", 2], 1.0)
    self.assertEqual(events["keep_rate/watch/block_01/conv", 1], 0.5)


if __name__ == "__main__":
  absltest.main()

"""Rounds of a system in another process."""

import os
import sys

import psutil
from absl.testing import absltest

from benchmarks.round_process import RoundProcess, SystemFailedError
from benchmarks.systems import turns, workload
from benchmarks.systems.workload import Workload

_WORKLOAD = Workload("tiny", clients=2, steps=3, batch_size=4, frames=48)
# Its modules are named by what was imported here, so that they are there too.
_SYSTEM = f"""
import sys, time
from {turns.__name__} import Turns
from {workload.__name__} import Workload

workload = Workload.from_argument(sys.argv[1])
assert workload.clients == 2
rounds, held = 0, []

def run_round():
  global rounds
  rounds += 1
  print("this is not a report")
  held.append(b"x" * int(sys.argv[2]))
  time.sleep(0.3)
  if rounds == 3:
    raise ValueError("enough")

Turns().serve(run_round)
"""


class RoundProcessTest(absltest.TestCase):
  def start(self, held_bytes):
    folder = self.create_tempdir()
    folder.create_file("a_system.py", _SYSTEM)
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    system = RoundProcess(
      [sys.executable, "-m", "a_system", str(held_bytes)],
      _WORKLOAD,
      os.pathsep.join([root, folder.full_path]),
      os.path.join(folder.full_path, "log"),
    )
    self.addCleanup(system.close)
    return system

  def test_rounds_are_timed_and_memory_is_seen(self):
    system = self.start(50_000_000)
    self.assertBetween(system.run_round(), 0.3, 3.0)
    self.assertGreater(system.seconds_since_start, 0.3)
    before = system.resident_bytes()
    self.assertBetween(system.run_round(watch_memory=True), 0.3, 3.0)
    self.assertGreater(system.peak_resident_bytes, before + 40_000_000)

  def test_a_system_that_fails_says_why(self):
    system = self.start(1)
    system.run_round()
    system.run_round()
    with self.assertRaisesRegex(SystemFailedError, "ValueError: enough"):
      system.run_round()

  def test_nothing_is_left_of_it(self):
    system = self.start(1)
    system.run_round()
    children = psutil.Process().children()
    self.assertNotEmpty(children)
    system.close()
    self.assertFalse(any(child.is_running() for child in children))

  def test_it_ends_when_nobody_asks_any_more(self):
    system = self.start(1)
    system.run_round()
    system._process.stdin.close()
    self.assertEqual(system._process.wait(30), 0)

  def test_the_workload_crosses_a_command_line(self):
    self.assertEqual(Workload.from_argument(_WORKLOAD.to_argument()), _WORKLOAD)
    batches = _WORKLOAD.batches(1)
    self.assertEqual(batches["features"].shape, (3, 4, 48, 80))
    self.assertEqual(batches["labels"].shape, (3, 4, 6))
    self.assertFalse(
      (batches["features"] == _WORKLOAD.batches(0)["features"]).any()
    )


if __name__ == "__main__":
  absltest.main()

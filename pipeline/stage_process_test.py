"""Tests of stage_process."""

import os
import signal
import sys
import threading
import time
from unittest import mock

from absl.testing import absltest

from pipeline.stage_process import run_stage

_HOLD_MEMORY = (
  "import time; block = bytearray(b'x') * 80_000_000; time.sleep(1.5)"
)
_LEAVE_A_CHILD = """
import subprocess, sys
child = subprocess.Popen(
  [sys.executable, "-c", "import time; time.sleep(60)"],
  start_new_session={new_session},
)
print("pid", child.pid, flush=True)
import time; time.sleep(1)
"""


def _alive(pid: int) -> bool:
  try:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
      return file.read().rpartition(")")[2].split()[0] != "Z"
  except OSError:
    return False


class RunStageTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    # A shell that starts tests in the background leaves it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    self.log = os.path.join(self.create_tempdir(), "logs", "stage.log")

  def _run(self, program):
    return run_stage([sys.executable, "-c", program], self.log)

  def _logged(self):
    with open(self.log, encoding="utf-8") as file:
      return file.read()

  def test_exit_status_and_both_outputs(self):
    result = self._run(
      "import sys; print('out'); print('err', file=sys.stderr); sys.exit(2)"
    )
    self.assertEqual(result.exit_status, 2)
    self.assertCountEqual(self._logged().split(), ["out", "err"])

  def test_log_keeps_the_last_state_of_a_progress_bar(self):
    self._run("print('10 %\\r50 %\\r100 %\\nend', end='')")
    self.assertEqual(self._logged(), "100 %\nend\n")

  def test_on_a_terminal_the_stage_has_one_too(self):
    show = "import sys; print(sys.stdout.isatty(), sys.stderr.isatty())"
    self._run(show)
    self.assertEqual(self._logged(), "False False\n")
    with mock.patch.object(sys.stderr, "isatty", return_value=True):
      self.assertEqual(self._run(show).exit_status, 0)
    self.assertEqual(self._logged(), "True True\n")

  def test_a_child_that_holds_the_output_neither_hangs_nor_stays(self):
    for new_session in (False, True):
      with self.subTest(new_session=new_session):
        started = time.monotonic()
        result = self._run(_LEAVE_A_CHILD.format(new_session=new_session))
        self.assertLess(time.monotonic() - started, 15)
        self.assertEqual(result.exit_status, 0)
        self.assertFalse(_alive(int(self._logged().split()[1])))

  def test_memory_and_time(self):
    result = self._run(_HOLD_MEMORY)
    self.assertBetween(result.peak_rss_bytes, 80e6, 200e6)
    self.assertBetween(result.seconds, 1.5, 15)

  def test_interrupt_reaches_the_process_and_comes_back(self):
    program = (
      "import time\ntry:\n  print('up', flush=True); time.sleep(60)\n"
      "except KeyboardInterrupt:\n  print('cleaned up')"
    )
    me = os.getpid()

    def interrupt_when_up():
      while not (os.path.exists(self.log) and "up" in self._logged()):
        time.sleep(0.05)
      os.kill(me, signal.SIGINT)

    thread = threading.Thread(target=interrupt_when_up)
    thread.start()
    started = time.monotonic()
    with self.assertRaises(KeyboardInterrupt):
      self._run(program)
    thread.join()
    self.assertLess(time.monotonic() - started, 15)


if __name__ == "__main__":
  absltest.main()

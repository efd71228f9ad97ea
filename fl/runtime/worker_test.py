"""Workers end with the program, however it ends, and let nobody else in."""

import os
import signal
import socket
import subprocess
import sys
import time

import psutil
from absl.testing import absltest

from fl.runtime import local
from fl.runtime.worker import LOOPBACK, Worker
from lingvo_lite.stage.errors import InputError

# Starts a runtime, says which process the worker is, and ends as told.
_PROGRAM = f"""
import os, sys, time
import numpy as np
import tensorflow_federated as tff
from {local.__name__} import local_runtime

@tff.tensorflow.computation(np.int32)
def double(x):
  return x * 2

with local_runtime() as worker:
  print(worker.pid, double(21), flush=True)
  how = sys.argv[1]
  if how == "raise":
    raise ValueError("on purpose")
  if how == "exit":
    os._exit(3)
  if how == "wait":
    print(worker.port, flush=True)
    time.sleep(120)
"""

# Where nobody gets a network of its own: says how a worker fares that may not
# listen on all addresses, and one that may.
_OPEN_PROGRAM = f"""
from {Worker.__module__} import Worker
from {InputError.__module__} import InputError

try:
  Worker(1, 1, may_listen_everywhere=False)
except InputError as error:
  print("refused:", error)
worker = Worker(1, 1)
print("answers")
worker.close()
"""
_WITHOUT_NETWORKS = 'echo 0 >/proc/sys/user/max_net_namespaces; exec "$@"'

_GONE_WITHIN_S = 10.0


class WorkerTest(absltest.TestCase):
  def start(self, how: str) -> tuple[subprocess.Popen, int]:
    program = subprocess.Popen(
      [sys.executable, "-c", _PROGRAM, how],
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
      text=True,
    )
    self.addCleanup(program.stdout.close)
    pid, answer = program.stdout.readline().split()
    self.assertEqual(answer, "42")
    return program, int(pid)

  def assert_gone(self, pid: int):
    deadline = time.monotonic() + _GONE_WITHIN_S
    while time.monotonic() < deadline:
      try:
        # Where no init reaps orphans, a dead one stays as a zombie.
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
          return
      except psutil.NoSuchProcess:
        return
      time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    self.fail(f"the worker {pid} outlived its program")

  def test_ends_with_a_program_that_ends(self):
    program, worker = self.start("return")
    self.assertEqual(program.wait(60), 0)
    self.assert_gone(worker)

  def test_ends_with_a_program_that_raises(self):
    program, worker = self.start("raise")
    self.assertEqual(program.wait(60), 1)
    self.assert_gone(worker)

  def test_ends_with_a_program_that_skips_its_cleanup(self):
    program, worker = self.start("exit")
    self.assertEqual(program.wait(60), 3)
    self.assert_gone(worker)

  def test_ends_with_a_program_that_is_interrupted_or_killed(self):
    started = [
      (self.start("wait"), number)
      for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
    ]
    for (program, worker), number in started:
      with self.subTest(number.name):
        self.assertTrue(psutil.pid_exists(worker))
        program.send_signal(number)
        program.wait(60)
        self.assert_gone(worker)

  def test_answers_on_loopback_alone(self):
    program, worker = self.start("wait")
    port = int(program.stdout.readline())
    own = os.readlink(f"/proc/{worker}/ns/net")
    if own == os.readlink("/proc/self/ns/net"):
      self.skipTest("this machine gives no process a network of its own")
    listening = set()
    for table in ("tcp", "tcp6"):
      with open(f"/proc/{program.pid}/net/{table}", encoding="ascii") as rows:
        fields = [row.split() for row in rows]
      listening |= {row[1] for row in fields if row[3] == "0A"}
    # Addresses are in network byte order: 127.0.0.1 is 0100007F.
    self.assertEqual(
      [place for place in listening if place.endswith(f":{port:04X}")],
      [f"0100007F:{port:04X}"],
    )
    program.kill()
    program.wait(60)

  def test_without_a_network_of_its_own_it_is_open_only_where_it_may_be(self):
    inside = ["unshare", "--user", "--map-root-user", "sh", "-c",
              _WITHOUT_NETWORKS, "sh"]  # fmt: skip
    tried = subprocess.run(
      [*inside, "unshare", "--net", "true"], capture_output=True, check=False
    )
    if b"No space left" not in tried.stderr:
      self.skipTest("this machine does not let networks be forbidden")
    with open(self.create_tempfile().full_path, "w+") as said:
      # To a file: a worker that outlived it would hold a pipe open.
      subprocess.run(
        [*inside, sys.executable, "-c", _OPEN_PROGRAM],
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
      )
      said.seek(0)
      lines = said.read()
    self.assertIn("refused: found that TFF's worker cannot answer", lines)
    self.assertIn("no network of its own: it answers on port", lines)
    self.assertIn("\nanswers", lines)

  def test_ports_and_addresses_that_cannot_be_had_are_named(self):
    with socket.socket() as taken:
      taken.bind((LOOPBACK, 0))
      taken.listen()
      port = taken.getsockname()[1]
      with self.assertRaisesRegex(InputError, f"port {port}: .*in use"):
        Worker(1, 1, port=port)
    # A documentation address, nobody's.
    with self.assertRaisesRegex(InputError, "192.0.2.1.*free port"):
      Worker(1, 1, address="192.0.2.1")

  def test_starts_another_when_it_died(self):
    worker = Worker(1, 1)
    self.addCleanup(worker.close)
    first = worker.pid
    self.assertFalse(worker.restart_if_dead())
    os.kill(first, signal.SIGKILL)
    worker.wait()
    self.assertTrue(worker.restart_if_dead())
    self.assertNotEqual(worker.pid, first)
    self.assertTrue(psutil.pid_exists(worker.pid))
    worker.close()
    self.assert_gone(worker.pid)

  def test_inherits_no_pipe_of_the_program(self):
    program, worker = self.start("wait")
    ours = os.stat(f"/proc/{program.pid}/fd/1").st_ino
    theirs = {
      os.stat(f"/proc/{worker}/fd/{entry}").st_ino
      for entry in os.listdir(f"/proc/{worker}/fd")
      if os.path.exists(f"/proc/{worker}/fd/{entry}")
    }
    program.kill()
    program.wait(60)
    self.assertNotIn(ours, theirs)


if __name__ == "__main__":
  absltest.main()

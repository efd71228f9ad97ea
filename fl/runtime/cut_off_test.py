"""Training on hosts in network namespaces, one of which is cut off."""

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import tensorflow_federated as tff
from absl.testing import absltest

from fl.runtime.errors import WorkerLostError
from fl.runtime.remote import Address, RemoteWorker, remote_runtime

_TRAINER = "--as_trainer"
_WORKER = "fl.worker_main"
_PORT = 8500
_ANSWERS_WITHIN_S = 120


class CutOffTest(absltest.TestCase):
  def test_a_host_that_is_cut_off_costs_an_attempt(self):
    namespace = ["unshare", "--user", "--map-root-user", "--net"]
    if shutil.which("ip") is None:
      self.skipTest("found no ip(8), which the test lays cables with")
    if subprocess.run([*namespace, "true"], capture_output=True).returncode:
      self.skipTest("this machine gives no network namespaces")
    done = subprocess.run(
      [*namespace, sys.executable, os.path.abspath(__file__), _TRAINER],
      env=os.environ
      | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
         "no_proxy": "*"},
      stdin=subprocess.DEVNULL,
      capture_output=True,
      text=True,
      timeout=800,
    )  # fmt: skip
    said = [line for line in done.stdout.splitlines() if line.startswith("# ")]
    self.assertEqual(
      said,
      ["# both: 20", "# cut off: WorkerLostError", "# the other: 20"],
      done.stderr[-2000:],
    )


def _trainer() -> None:
  """Runs in a network of its own, with a cable to each of two hosts."""

  @tff.tensorflow.computation(np.int32)
  def double(x):
    return x * 2

  @tff.federated_computation(tff.FederatedType(np.int32, tff.CLIENTS))
  def sum_of_doubles(values):
    return tff.federated_sum(tff.federated_map(double, values))

  hosts = [_Host(number) for number in (1, 2)]
  try:
    addresses = [Address(host.address, _PORT) for host in hosts]
    for address in addresses:
      worker = RemoteWorker(address)
      for _ in range(_ANSWERS_WITHIN_S):
        if worker.answers():
          break
        time.sleep(1.0)
      worker.close()
    with remote_runtime(addresses):
      print("# both:", sum_of_doubles([1, 2, 3, 4]), flush=True)
      hosts[1].cut_off()
      try:
        print("# not cut off:", sum_of_doubles([1, 2, 3, 4]), flush=True)
      except WorkerLostError as error:
        print("# cut off:", type(error).__name__, flush=True)
      print("# the other:", sum_of_doubles([1, 2, 3, 4]), flush=True)
  finally:
    for host in hosts:
      host.close()


class _Host:
  """A network namespace with a worker, at the other end of a cable."""

  def __init__(self, number: int) -> None:
    self.address = f"10.0.{number}.2"
    self._holder = subprocess.Popen(
      ["unshare", "--net", "sh", "-c", "echo here; exec sleep 1000"],
      stdout=subprocess.PIPE,
    )
    self._holder.stdout.readline()
    here, there = f"cable{number}", "eth0"
    _run("ip", "link", "add", here, "type", "veth", "peer", "name", there,
         "netns", str(self._holder.pid))  # fmt: skip
    _run("ip", "address", "add", f"10.0.{number}.1/24", "dev", here)
    _run("ip", "link", "set", here, "up")
    self._inside = ["nsenter", "--net", "--target", str(self._holder.pid)]
    _run(*self._inside, "ip", "address", "add", f"{self.address}/24",
         "dev", there)  # fmt: skip
    for device in ("lo", there):
      _run(*self._inside, "ip", "link", "set", device, "up")
    self._worker = subprocess.Popen(
      [*self._inside, sys.executable, "-m", _WORKER, f"--port={_PORT}",
       f"--address={self.address}", "--trust_network"],
      stdin=subprocess.DEVNULL,
      stdout=sys.stderr,
    )  # fmt: skip

  def cut_off(self) -> None:
    """Pulls the cable at the host's end: nothing says that it is gone."""
    _run(*self._inside, "ip", "link", "set", "eth0", "down")

  def close(self) -> None:
    for process in (self._worker, self._holder):
      process.kill()
      process.wait()


def _run(*command: str) -> None:
  subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
  if sys.argv[1:] == [_TRAINER]:
    _trainer()
  else:
    absltest.main()

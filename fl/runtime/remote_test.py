"""Rounds on several workers, one of which is killed or cut off."""

import collections
import os
import signal
from typing import NamedTuple

import numpy as np
import tensorflow_federated as tff
from absl.testing import absltest, parameterized

from fl.runtime.errors import WorkerLostError
from fl.runtime.remote import (
  Address,
  RemoteWorker,
  parse_address,
  remote_runtime,
)
from fl.runtime.worker import LOOPBACK, Worker
from lingvo_lite.stage.errors import InputError


@tff.tensorflow.computation(np.int32)
def _double(x):
  return x * 2


@tff.federated_computation(tff.FederatedType(np.int32, tff.CLIENTS))
def _sum_of_doubles(values):
  return tff.federated_sum(tff.federated_map(_double, values))


class _Result(NamedTuple):
  total: int
  parts: dict[str, int]


@tff.federated_computation(tff.FederatedType(np.int32, tff.CLIENTS))
def _named_result(values):
  total = tff.federated_sum(values)
  return tff.federated_zip(
    _Result(total, collections.OrderedDict(one=total, two=total))
  )


class RemoteTest(parameterized.TestCase):
  def workers(self, count):
    workers = [Worker(1, 1) for _ in range(count)]
    for worker in workers:
      self.addCleanup(worker.close)
    return workers, [Address(LOOPBACK, worker.port) for worker in workers]

  def test_clients_are_divided_among_workers_and_a_dead_one_is_left_out(self):
    workers, addresses = self.workers(3)
    with remote_runtime(addresses):
      self.assertEqual(_sum_of_doubles([1, 2, 3, 4, 5]), 30)
      os.kill(workers[1].pid, signal.SIGKILL)
      workers[1].wait()
      # One attempt is lost, not the run.
      with self.assertRaises(WorkerLostError):
        _sum_of_doubles([1, 2, 3, 4, 5])
      self.assertEqual(_sum_of_doubles([1, 2, 3, 4, 5]), 30)
      for worker in (workers[0], workers[2]):
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
      with self.assertRaises(WorkerLostError):
        _sum_of_doubles([1])
      with self.assertRaisesRegex(WorkerLostError, "none of the workers"):
        _sum_of_doubles([1])

  def test_results_are_in_the_containers_that_the_computation_returns(self):
    _, addresses = self.workers(2)
    with remote_runtime(addresses):
      result = _named_result([1, 2, 3])
    self.assertIsInstance(result, _Result)
    self.assertEqual(result.parts, collections.OrderedDict(one=6, two=6))

  def test_a_worker_that_died_does_not_answer(self):
    workers, addresses = self.workers(1)
    remote = RemoteWorker(addresses[0])
    self.addCleanup(remote.close)
    self.assertTrue(remote.answers())
    os.kill(workers[0].pid, signal.SIGKILL)
    workers[0].wait()
    self.assertFalse(remote.answers())

  def test_a_worker_that_is_not_there_is_named_at_once(self):
    with self.assertRaisesRegex(InputError, "no worker at 127.0.0.1:1,"):
      with remote_runtime([Address(LOOPBACK, 1)]):
        self.fail("not reached")

  @parameterized.parameters("host", "host:", ":80", "host:0", "host:70000", "")
  def test_what_is_no_address_is_refused(self, text):
    with self.assertRaisesRegex(InputError, "expected host:port"):
      parse_address(text)

  def test_an_address_is_read(self):
    self.assertEqual(parse_address(" a.b:8500"), Address("a.b", 8500))


if __name__ == "__main__":
  absltest.main()

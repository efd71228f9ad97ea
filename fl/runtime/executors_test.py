"""Several workers are at work at the same time."""

import asyncio
import threading
from unittest import mock

import numpy as np
import tensorflow_federated as tff
from absl.testing import absltest
from tensorflow_federated.proto.v0 import executor_pb2

from fl.runtime import executors

_TIMEOUT_S = 20.0


class _Stub:
  """A worker that does nothing before both are asked."""

  def __init__(self, both: threading.Barrier) -> None:
    self._both = both

  def get_executor(self, request):
    del request
    return executor_pb2.GetExecutorResponse()

  def create_value(self, request):
    del request
    self._both.wait(_TIMEOUT_S)
    return executor_pb2.CreateValueResponse()

  def create_call(self, request):
    del request
    self._both.wait(_TIMEOUT_S)
    return executor_pb2.CreateCallResponse()

  def dispose(self, request):
    del request

  def dispose_executor(self, request):
    del request


class ExecutorsTest(absltest.TestCase):
  def test_one_worker_does_not_wait_for_another(self):
    both = threading.Barrier(2)
    with mock.patch.object(
      executors, "WatchedStub", lambda channel: _Stub(both)
    ):
      worker = mock.Mock(restart_if_dead=lambda: False)
      factories = [executors.WorkerExecutors(worker) for _ in range(2)]
      made = [factory.create_executor({}) for factory in factories]

    @tff.tensorflow.computation
    def one():
      return np.int32(1)

    async def ask(executor):
      function = await executor.create_value(one, one.type_signature)
      return await executor.create_call(function)

    async def ask_all():
      return await asyncio.gather(*map(ask, made))

    # A barrier that one of them waits at alone breaks.
    values = asyncio.run(ask_all())
    self.assertLen(values, 2)
    for factory in factories:
      factory.clean_up_executor({})


if __name__ == "__main__":
  absltest.main()

"""The executors that a program has on a worker."""

import asyncio
import collections
import concurrent.futures
from collections.abc import Coroutine
from typing import Any, Protocol

import grpc
import tensorflow_federated as tff

from fl.runtime.watched_stub import WatchedStub

# An executor keeps what it compiled. A few cohort sizes, and no clients at all,
# come again and again; with each round's size kept for ever, memory would grow.
_KEPT = 4


class ReachableWorker(Protocol):
  """A worker, here or elsewhere."""

  @property
  def channel(self) -> grpc.Channel:
    """The way to it."""

  def restart_if_dead(self) -> bool:
    """Starts it anew if it ended and is ours; returns whether it did."""


class _PatientExecutor(tff.framework.RemoteExecutor):
  """TFF's, but waiting for its worker holds up nobody else.

  TFF's own blocks the event loop until a worker has done what it was asked for,
  so that the next worker is not even told: several took as long as one.
  """

  def __init__(self, stub: WatchedStub) -> None:
    super().__init__(stub)
    # One, so that calls arrive in their order.
    self._thread = concurrent.futures.ThreadPoolExecutor(1)

  async def create_value(self, value: Any, type_spec: Any = None) -> Any:
    """See TFF's."""
    return await self._aside(super().create_value(value, type_spec))

  async def create_call(self, comp: Any, arg: Any = None) -> Any:
    """See TFF's."""
    return await self._aside(super().create_call(comp, arg))

  async def _compute(self, value_ref: Any, type_spec: tff.Type) -> Any:
    return await self._aside(super()._compute(value_ref, type_spec))

  def close(self) -> None:
    """See TFF's."""
    super().close()
    self._thread.shutdown(wait=False)

  async def _aside(self, call: Coroutine[Any, Any, Any]) -> Any:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(self._thread, asyncio.run, call)


class WorkerExecutors(tff.framework.ExecutorFactory):
  """Makes executors, and closes those that are no longer of use.

  TFF's own factory drops executors without closing them, and goes on using
  those of a worker that died.

  Args:
    worker: where they are.
  """

  def __init__(self, worker: ReachableWorker) -> None:
    self._worker = worker
    self._stub = WatchedStub(worker.channel)
    # By number of clients, the one used last at the end.
    self._executors: collections.OrderedDict[int, _PatientExecutor] = (
      collections.OrderedDict()
    )

  def create_executor(
    self, cardinalities: tff.framework.CardinalitiesType
  ) -> _PatientExecutor:
    """Returns an executor for so many clients, on a new worker if need be."""
    if self._worker.restart_if_dead():
      self._executors.clear()
      self._stub = WatchedStub(self._worker.channel)
    clients = cardinalities.get(tff.CLIENTS, 0)
    executor = self._executors.pop(clients, None)
    if executor is None:
      executor = _PatientExecutor(self._stub)
      executor.set_cardinalities({tff.CLIENTS: clients})
    self._executors[clients] = executor
    while len(self._executors) > _KEPT:
      _, oldest = self._executors.popitem(last=False)
      oldest.close()
    return executor

  def clean_up_executor(
    self, cardinalities: tff.framework.CardinalitiesType
  ) -> None:
    """Closes the executor for so many clients, after an error in it."""
    executor = self._executors.pop(cardinalities.get(tff.CLIENTS, 0), None)
    if executor is not None:
      executor.close()

"""The executors that a program has on a worker."""

import collections
from typing import Protocol

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
    self._executors: collections.OrderedDict[
      int, tff.framework.RemoteExecutor
    ] = collections.OrderedDict()

  def create_executor(
    self, cardinalities: tff.framework.CardinalitiesType
  ) -> tff.framework.RemoteExecutor:
    """Returns an executor for so many clients, on a new worker if need be."""
    if self._worker.restart_if_dead():
      self._executors.clear()
      self._stub = WatchedStub(self._worker.channel)
    clients = cardinalities.get(tff.CLIENTS, 0)
    executor = self._executors.pop(clients, None)
    if executor is None:
      executor = tff.framework.RemoteExecutor(self._stub)
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

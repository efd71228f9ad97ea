"""Calls to a worker that end, one way or the other."""

import contextlib
from collections.abc import Callable
from typing import Any

import grpc
import tensorflow_federated as tff

from fl.runtime.errors import WorkerLostError

_GIVEN_UP = (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)


class WatchedStub(tff.framework.RemoteExecutorStub):
  """TFF's stub, for a worker that may die.

  TFF calls a worker that does not answer again and again, for ever. Here the
  call raises WorkerLostError: whoever runs rounds decides whether to try again.

  Args:
    channel: the way to it.
  """

  def __init__(self, channel: grpc.Channel) -> None:
    self._stub = tff.framework.RemoteExecutorGrpcStub(channel)

  def get_executor(self, request: Any) -> Any:
    """See TFF's."""
    return _call(self._stub.get_executor, request)

  def create_value(self, request: Any) -> Any:
    """See TFF's."""
    return _call(self._stub.create_value, request)

  def create_struct(self, request: Any) -> Any:
    """See TFF's."""
    return _call(self._stub.create_struct, request)

  def create_call(self, request: Any) -> Any:
    """See TFF's."""
    return _call(self._stub.create_call, request)

  def create_selection(self, request: Any) -> Any:
    """See TFF's."""
    return _call(self._stub.create_selection, request)

  def compute(self, request: Any) -> Any:
    """See TFF's."""
    return _call(self._stub.compute, request)

  def dispose(self, request: Any) -> Any:
    """See TFF's; a worker that is gone has nothing left to dispose of."""
    with contextlib.suppress(WorkerLostError):
      return _call(self._stub.dispose, request)

  def dispose_executor(self, request: Any) -> Any:
    """See TFF's; a worker that is gone has nothing left to dispose of."""
    with contextlib.suppress(WorkerLostError):
      return _call(self._stub.dispose_executor, request)

  @property
  def is_ready(self) -> bool:
    """Whether there is a connection."""
    return self._stub.is_ready


def _call(method: Callable[[Any], Any], request: Any) -> Any:
  try:
    return method(request)
  except tff.framework.RetryableError as error:
    raise WorkerLostError("the worker is gone or does not know us") from error
  except grpc.RpcError as error:
    if isinstance(error, grpc.Call) and error.code() in _GIVEN_UP:
      raise WorkerLostError("the worker does not answer") from error
    raise
  except ValueError as error:
    # What gRPC raises on a channel that was closed meanwhile.
    if "closed channel" in str(error):
      raise WorkerLostError("the worker does not answer") from error
    raise

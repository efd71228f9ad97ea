"""Runs federated computations on other machines' workers."""

import contextlib
import dataclasses
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grpc
import tensorflow_federated as tff
from absl import logging

from fl.runtime.errors import WorkerLostError
from fl.runtime.executors import WorkerExecutors
from fl.runtime.local import compile_for_workers
from fl.runtime.worker import CHANNEL_OPTIONS
from lingvo_lite.stage.errors import InputError

_HEARTBEAT_S = 5.0
_MISSED_BEATS = 2


@dataclasses.dataclass(frozen=True)
class Address:
  """Where a worker answers."""

  host: str
  port: int

  def __str__(self):
    return f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
  """Reads `host:port`.

  Raises:
    InputError: it is something else.
  """
  host, _, port = text.strip().rpartition(":")
  if not host or not port.isdecimal() or not 0 < int(port) < 65536:
    raise InputError(
      f"found the worker {text!r}, expected host:port: write it as"
      " --workers=host:port,host:port"
    )
  return Address(host, int(port))


class RemoteWorker:
  """The way to a worker on another machine, for as long as it answers.

  A machine that is cut off never says so: a call to it would wait for ever. So
  its address is tried every few seconds, and when it does not answer twice in a
  row, the calls at work are cancelled.

  Args:
    address: where it answers.
  """

  def __init__(self, address: Address) -> None:
    self.address = address
    self._closed = threading.Event()
    self._beats = threading.Thread(target=self._watch, daemon=True)
    self.channel = self._connect()
    self._beats.start()

  def answers(self) -> bool:
    """Whether somebody accepts connections at its address, now."""
    try:
      with socket.create_connection(
        (self.address.host, self.address.port), _HEARTBEAT_S
      ):
        return True
    except OSError:
      return False

  def restart_if_dead(self) -> bool:
    """A machine elsewhere is not ours to start; see `Worker`."""
    return False

  def close(self) -> None:
    """Lets go of it; the worker itself runs on."""
    self._closed.set()
    self.channel.close()

  def _connect(self) -> grpc.Channel:
    return grpc.insecure_channel(str(self.address), options=CHANNEL_OPTIONS)

  def _watch(self) -> None:
    missed = 0
    while not self._closed.wait(_HEARTBEAT_S):
      missed = 0 if self.answers() else missed + 1
      if missed == _MISSED_BEATS:
        logging.warning("the worker at %s does not answer", self.address)
        self.close()


class _RemoteContext(tff.framework.SyncContext):
  """Divides each computation's clients among the workers that answer.

  Args:
    addresses: of all workers.
  """

  def __init__(self, addresses: Sequence[Address]) -> None:
    self._addresses = addresses
    self._workers: list[RemoteWorker] = []
    self._context: tff.framework.SyncContext | None = None

  def invoke(self, comp: Any, arg: Any) -> Any:
    """Runs a computation; WorkerLostError if a worker is lost meanwhile."""
    if self._context is None:
      self._workers = self._answering()
      self._context = tff.framework.MergeableCompExecutionContext(
        [_context(worker) for worker in self._workers],
        compiler_fn=_compile_in_parts,
      )
    try:
      result = self._context.invoke(comp, arg)
    except (grpc.RpcError, WorkerLostError):
      # Whoever still answers does the next computation.
      self.close()
      raise
    returned = comp.type_signature.result
    return tff.types.type_to_py_container(_struct(result, returned), returned)

  def close(self) -> None:
    """Lets go of the workers."""
    for worker in self._workers:
      worker.close()
    self._workers, self._context = [], None

  def _answering(self) -> list[RemoteWorker]:
    workers = [RemoteWorker(address) for address in self._addresses]
    answering = [worker for worker in workers if worker.answers()]
    for worker in workers:
      if worker not in answering:
        logging.warning("going on without the worker at %s", worker.address)
        worker.close()
    if not answering:
      raise WorkerLostError("none of the workers answers")
    return answering


@contextlib.contextmanager
def remote_runtime(addresses: Sequence[Address]) -> Iterator[None]:
  """Makes TFF's default context the workers at the addresses.

  Args:
    addresses: where workers answer, `//fl:worker` on each machine.

  Raises:
    InputError: one of them does not answer at the beginning.
  """
  for address in addresses:
    worker = RemoteWorker(address)
    answers = worker.answers()
    worker.close()
    if not answers:
      raise InputError(
        f"found no worker at {address}, expected one: start it there with"
        f" ./bazelw run //fl:worker -- --port={address.port}, and check that"
        " this machine reaches it"
      )
  context = _RemoteContext(addresses)
  try:
    with tff.framework.get_context_stack().install(context):
      yield
  finally:
    context.close()


def _context(worker: RemoteWorker) -> tff.framework.AsyncExecutionContext:
  return tff.framework.AsyncExecutionContext(
    executor_fn=WorkerExecutors(worker),
    compiler_fn=compile_for_workers,
    transform_args=tff.tensorflow.transform_args,
    transform_result=tff.tensorflow.transform_result,
  )


def _struct(value: Any, type_spec: tff.Type) -> Any:
  """Undoes a choice of Python containers.

  Compiling in parts forgets which ones the computation returns: what comes back
  has OrderedDicts where a process returns named tuples.
  """
  if isinstance(type_spec, tff.FederatedType):
    if type_spec.placement is tff.CLIENTS:
      return value
    return _struct(value, type_spec.member)
  if not isinstance(type_spec, tff.StructType):
    return value
  elements = value.values() if isinstance(value, Mapping) else value
  return tff.structure.Struct(
    (name, _struct(element, element_type))
    for (name, element_type), element in zip(
      tff.structure.iter_elements(type_spec), elements, strict=True
    )
  )


def _compile_in_parts(
  computation: tff.framework.ConcreteComputation,
) -> tff.framework.MergeableCompForm:
  return tff.backends.native.compile_to_mergeable_comp_form(
    tff.backends.test.replace_secure_intrinsics_with_bodies(computation)
  )

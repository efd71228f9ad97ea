"""One TFF worker process that never outlives this program.

TFF starts its C++ worker as a plain child, which survives a parent that is
killed, holds the pipes that it inherited and listens on all addresses of the
machine. This one ends with its parent, inherits nothing, and answers on one
address only: `gate.py` says how.
"""

import atexit
import os
import pathlib
import subprocess
import sys
import threading
import time

import grpc
import tensorflow_federated as tff
from absl import logging

from fl.runtime import gate
from fl.runtime.heap import few_heaps
from lingvo_lite.stage.errors import InputError

LOOPBACK = "127.0.0.1"
_BINARY = pathlib.Path(tff.__file__).parent / "data" / "worker_binary"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 2.0
_MAX_MESSAGE_BYTES = 2 * 1000 * 1000 * 1000
CHANNEL_OPTIONS = (
  ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
  ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
)


class Worker:
  """A running `worker_binary`, stopped at `close` or when the program ends.

  However the program ends: by itself, by an exception, by an interrupt or by
  SIGKILL.

  Args:
    concurrent_calls: how many clients it works on at a time.
    threads_per_call: threads that one operation of a client may use.
    address: of this machine, where the worker answers.
    port: where the worker answers; 0: any that is free.
    may_listen_everywhere: what to do on a machine that gives the worker no
      network of its own: let it answer on all addresses, with a warning, or
      raise.

  Raises:
    InputError: the address is none of this machine's, the port is taken, or the
      worker would listen on all addresses and may not.
  """

  def __init__(
    self,
    concurrent_calls: int,
    threads_per_call: int,
    address: str = LOOPBACK,
    port: int = 0,
    may_listen_everywhere: bool = True,
  ) -> None:
    if threading.current_thread() is not threading.main_thread():
      # The kernel watches the thread that starts the child, not the process.
      raise RuntimeError("start the worker from the main thread")
    self._concurrent_calls = concurrent_calls
    self._threads_per_call = threads_per_call
    self._address = address
    self._port = port
    self._may_listen_everywhere = may_listen_everywhere
    self._channel: grpc.Channel | None = None
    atexit.register(self.close)
    self._start()

  def _start(self) -> None:
    reading, writing = os.pipe()
    self._process = subprocess.Popen(
      [
        sys.executable,
        "-I",
        "-S",
        gate.__file__,
        str(os.getpid()),
        self._address,
        str(self._port),
        "open" if self._may_listen_everywhere else "closed",
        str(writing),
        str(_BINARY),
        f"--max_concurrent_computation_calls={self._concurrent_calls}",
      ],
      stdin=subprocess.DEVNULL,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
      pass_fds=[writing],
      # An interrupt from the terminal is for the program, which then stops
      # the worker in its own order.
      start_new_session=True,
      env={
        **few_heaps(self._concurrent_calls),
        **os.environ,
        "TF_NUM_INTRAOP_THREADS": str(self._threads_per_call),
        "TF_CPP_MIN_LOG_LEVEL": "3",
      },
    )
    os.close(writing)
    with os.fdopen(reading) as status:
      first, *rest = status.readline().split() or ["error"]
    if first == "error":
      self.close()
      raise InputError(
        f"found that TFF's worker cannot answer on {self._address} port"
        f" {self._port}: {' '.join(rest) or 'it did not start'}; expected a"
        " free port on an address of this machine, and a kernel that gives a"
        " process a network of its own (unprivileged user namespaces)"
      )
    port, pid, network = first, *rest
    if network == "open":
      logging.warning(
        "this machine gives TFF's worker no network of its own: it answers on"
        " port %s of all addresses, without encryption or authentication",
        port,
      )
    self._pid = int(pid)
    self._bound_port = int(port)
    self._channel = grpc.insecure_channel(
      f"{self._address}:{port}", options=CHANNEL_OPTIONS
    )
    self._await_ready()

  @property
  def pid(self) -> int:
    """The worker's process id."""
    return self._pid

  @property
  def port(self) -> int:
    """Where it answers."""
    return self._bound_port

  @property
  def channel(self) -> grpc.Channel:
    """A channel to the worker's executor service."""
    if self._channel is None:
      raise RuntimeError("TFF's worker has not been started")
    return self._channel

  def restart_if_dead(self) -> bool:
    """Starts a new process if the last one ended; returns whether it did."""
    if self._process.poll() is None:
      return False
    logging.warning("TFF's worker ended; starting another")
    self.channel.close()
    self._start()
    return True

  def wait(self) -> int:
    """Returns when the worker ends, with the status of its keeper."""
    return self._process.wait()

  def close(self) -> None:
    """Stops the worker; a second call does nothing."""
    atexit.unregister(self.close)
    if self._process.poll() is None:
      self._process.terminate()
      try:
        self._process.wait(_STOP_TIMEOUT_S)
      except subprocess.TimeoutExpired:
        self._process.kill()
        self._process.wait()
    if self._channel is not None:
      self._channel.close()

  def _await_ready(self) -> None:
    ready = grpc.channel_ready_future(self._channel)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
      try:
        return ready.result(timeout=0.5)
      except grpc.FutureTimeoutError:
        pass
      if self._process.poll() is not None:
        raise RuntimeError(
          f"TFF's worker ended with status {self._process.returncode} while"
          " starting"
        )
      if time.monotonic() > deadline:
        self.close()
        raise RuntimeError(
          f"TFF's worker did not answer within {_START_TIMEOUT_S:.0f} s"
        )

"""One TFF worker process that never outlives this program.

TFF starts its C++ worker as a plain child, which survives a parent that is
killed and holds the pipes that it inherited. This one asks the kernel to be
killed with its parent, and inherits nothing.
"""

import atexit
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import grpc
import tensorflow_federated as tff

_BINARY = pathlib.Path(tff.__file__).parent / "data" / "worker_binary"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 2.0
_MAX_MESSAGE_BYTES = 2 * 1000 * 1000 * 1000
_CHANNEL_OPTIONS = (
  ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
  ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
)

# Run by a small Python that becomes the worker: setting this in the child of a
# fork of *this* process, which has threads, could deadlock. The request
# outlives exec. If the parent is gone before it is made, nobody would be left
# to trigger it, hence the second look. 1 is PR_SET_PDEATHSIG, 9 is SIGKILL.
_BECOME_WORKER = """
import ctypes, os, sys
parent, binary, *arguments = sys.argv[1:]
if ctypes.CDLL(None).prctl(1, 9, 0, 0, 0) != 0:
  sys.exit("prctl failed")
if os.getppid() != int(parent):
  sys.exit("the parent is gone")
os.execv(binary, [binary, *arguments])
"""


class Worker:
  """A running `worker_binary`, stopped at `close` or when the program ends.

  However the program ends: by itself, by an exception, by an interrupt or by
  SIGKILL.

  Args:
    concurrent_calls: how many clients it works on at a time.
    threads_per_call: threads that one operation of a client may use.
  """

  def __init__(self, concurrent_calls: int, threads_per_call: int) -> None:
    if threading.current_thread() is not threading.main_thread():
      # The kernel watches the thread that starts the child, not the process.
      raise RuntimeError("start the worker from the main thread")
    port = _unused_port()
    self._process = subprocess.Popen(
      [
        sys.executable,
        "-I",
        "-S",
        "-c",
        _BECOME_WORKER,
        str(os.getpid()),
        str(_BINARY),
        f"--port={port}",
        f"--max_concurrent_computation_calls={concurrent_calls}",
      ],
      stdin=subprocess.DEVNULL,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
      # An interrupt from the terminal is for the program, which then stops
      # the worker in its own order.
      start_new_session=True,
      env={
        **os.environ,
        "TF_NUM_INTRAOP_THREADS": str(threads_per_call),
        "TF_CPP_MIN_LOG_LEVEL": "3",
      },
    )
    atexit.register(self.close)
    self._channel = grpc.insecure_channel(
      f"localhost:{port}", options=_CHANNEL_OPTIONS
    )
    self._await_ready()

  @property
  def pid(self) -> int:
    """The worker's process id."""
    return self._process.pid

  @property
  def channel(self) -> grpc.Channel:
    """A channel to the worker's executor service."""
    return self._channel

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


def _unused_port() -> int:
  with socket.socket() as listener:
    listener.bind(("localhost", 0))
    return listener.getsockname()[1]

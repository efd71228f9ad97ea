"""Starts a worker where nobody but us can reach it; a program of its own.

TFF's worker listens on all addresses of the machine, and whoever reaches it can
run any TensorFlow graph there: its channel has neither encryption nor
authentication. So it is started in a network namespace of its own, whose only
address is its own loopback, and this program passes on what arrives at one
address that it was told to listen on.

Both end with the program that started them, however that ends: the kernel sees
to it. Run by a bare Python (`worker.py` does), since asking for that in the
child of a fork of a program with threads could deadlock.
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
import threading

_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS = 0x8914
_IFF_UP_AND_RUNNING = 0x41
_INNER_PORT = 10000
_PIPE_BYTES = 1 << 20


def main(argv: list[str]) -> None:
  """Runs until the worker or the program that started us ends.

  Args:
    argv: process id of that program; address and port to listen on (0: any);
      `open` if the worker may listen on all addresses where the machine gives
      it no network of its own, else `closed`; a file descriptor; the worker's
      binary and its other arguments. To the descriptor goes one line, as soon
      as the worker is started: port, process id, `open` or `closed`; or
      `error` and what went wrong.
  """
  parent, address, port, leave, status, binary, *arguments = argv
  report = os.fdopen(int(status), "w")
  os.set_inheritable(report.fileno(), False)
  _die_with_parent()
  if os.getppid() != int(parent):
    # Gone before we asked: nobody would be left to trigger it.
    sys.exit("the parent is gone")
  try:
    listener = socket.create_server((address, int(port)))
  except OSError as error:
    print("error", error.strerror, file=report)
    return
  port = listener.getsockname()[1]
  closed = _leave_network()
  if not closed:
    listener.close()
    if leave != "open":
      print("error", "this machine gives it no network of its own", file=report)
      return
  inner_port = _INNER_PORT if closed else port
  worker = os.fork()
  if worker == 0:
    _die_with_parent()
    os.execv(binary, [binary, f"--port={inner_port}", *arguments])
  print(port, worker, "closed" if closed else "open", file=report)
  report.close()
  if closed:
    threading.Thread(target=_serve, args=[listener], daemon=True).start()
  os.waitpid(worker, 0)


def _die_with_parent() -> None:
  if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
    sys.exit("prctl failed")


def _leave_network() -> bool:
  """Moves this process to a network of its own, if the machine lets it."""
  # A child tries first: some security modules (AppArmor on Ubuntu 24.04) let a
  # process into a network of its own and then forbid it to use its loopback,
  # and there is no way back.
  child = os.fork()
  if child == 0:
    os._exit(0 if _enter_new_network() else 1)
  _, status = os.waitpid(child, 0)
  return status == 0 and _enter_new_network()


def _enter_new_network() -> bool:
  unshare = ctypes.CDLL(None).unshare
  if unshare(_CLONE_NEWNET) != 0:
    if unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
      return False
  try:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
      request = struct.pack("16sh", b"lo", _IFF_UP_AND_RUNNING)
      fcntl.ioctl(control, _SIOCSIFFLAGS, request.ljust(40, b"\0"))
  except OSError:
    return False
  return True


def _serve(listener: socket.socket) -> None:
  while True:
    outer, _ = listener.accept()
    try:
      inner = socket.create_connection(("127.0.0.1", _INNER_PORT))
    except OSError:
      # Not up yet; the client tries again.
      outer.close()
      continue
    for connection in (outer, inner):
      connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for source, target in ((outer, inner), (inner, outer)):
      threading.Thread(
        target=_pass_on, args=[source, target], daemon=True
      ).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
  """Moves bytes inside the kernel until the source has no more."""
  out, into = os.pipe()
  fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
  with contextlib.suppress(OSError):
    while count := os.splice(source.fileno(), into, _PIPE_BYTES):
      while count:
        count -= os.splice(out, target.fileno(), count)
  for descriptor in (out, into):
    os.close(descriptor)
  with contextlib.suppress(OSError):
    target.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
  main(sys.argv[1:])

"""Lends this machine to federated training: runs a TFF worker until stopped.

  ./bazelw run //fl:worker -- --port=8500

A trainer uses it with `//fl:train -- --workers=host:8500,...`. The worker's
channel has neither encryption nor authentication, and whoever reaches it can
run any computation here: it answers on this machine's loopback only, for a
trainer on the same machine or at the end of an SSH tunnel, unless --address
names another of its addresses, in a network that nobody else is in.
"""

from lingvo_lite.stage import entry_point

import ipaddress  # noqa: I001
import os
import signal
from collections.abc import Sequence

from absl import flags, logging

from fl.runtime.worker import LOOPBACK, Worker
from lingvo_lite.stage.errors import InputError

_PORT = flags.DEFINE_integer(
  "port", None, "Where the worker answers.", required=True, lower_bound=1
)
_ADDRESS = flags.DEFINE_string(
  "address", LOOPBACK, "Of this machine, where the worker answers."
)
_TRUST_NETWORK = flags.DEFINE_bool(
  "trust_network",
  False,
  "Needed for an --address that is not a loopback address: says that only those"
  " who may run programs here can reach it.",
)
_CLIENTS_AT_A_TIME = flags.DEFINE_integer(
  "clients_at_a_time",
  None,
  "How many clients compute at once, each on one thread. Left out: as many as"
  " there are cores.",
)


def main(argv: Sequence[str]) -> None:
  """Runs the worker."""
  del argv
  try:
    is_loopback = ipaddress.ip_address(_ADDRESS.value).is_loopback
  except ValueError as error:
    raise InputError(
      f"found --address={_ADDRESS.value}, expected an IP address of this"
      " machine"
    ) from error
  if not is_loopback and not _TRUST_NETWORK.value:
    raise InputError(
      f"found --address={_ADDRESS.value}, expected a loopback address: the"
      " worker runs whatever it is sent by anybody; use an SSH tunnel, or say"
      " --trust_network if nobody else is in that network"
    )
  worker = Worker(
    concurrent_calls=(_CLIENTS_AT_A_TIME.value or len(os.sched_getaffinity(0))),
    threads_per_call=1,
    address=_ADDRESS.value,
    port=_PORT.value,
    may_listen_everywhere=False,
  )
  for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.default_int_handler)
  logging.info("answering on %s:%d", _ADDRESS.value, worker.port)
  try:
    status = worker.wait()
    raise RuntimeError(f"TFF's worker ended with status {status}")
  except KeyboardInterrupt:
    logging.info("stopped")
  finally:
    worker.close()


if __name__ == "__main__":
  entry_point.run(main)

"""How much of a round may be lost before it counts as failed."""

import dataclasses
import math

from lingvo_lite.stage.errors import InputError


@dataclasses.dataclass(frozen=True)
class RoundPolicy:
  """When a round closes and when it is tried again.

  Clients are simulated, and so is their time: a client takes `client_step_s`
  seconds for a local step. That keeps runs repeatable on any machine.

  Attributes:
    min_clients: good updates that a round needs to count; 0: it counts even if
      nobody came, as differential privacy wants it.
    max_attempts: how often a round is tried, with other clients each time.
    deadline_s: a client that takes longer is left out.
    client_step_s: simulated seconds of one local step on a client.
  """

  min_clients: int = 1
  max_attempts: int = 3
  deadline_s: float = math.inf
  client_step_s: float = 0.1

  def __post_init__(self):
    for name, flag, least in (
      ("min_clients", "min_clients", 0),
      ("max_attempts", "round_attempts", 1),
    ):
      if getattr(self, name) < least:
        raise InputError(
          f"found --{flag}={getattr(self, name)}, expected {least} or more"
        )
    for name in ("deadline_s", "client_step_s"):
      if not getattr(self, name) > 0:
        raise InputError(
          f"found --{name}={getattr(self, name)}, expected more than 0"
        )

  def duration_s(self, steps: int, slowdown: float) -> float:
    """Returns the simulated seconds of a client's local training."""
    return steps * self.client_step_s * slowdown

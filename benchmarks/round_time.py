"""A model of what a round takes, for more workers than there are here."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy.optimize


@dataclasses.dataclass(frozen=True)
class RoundTime:
  """fixed_s + each_s * clients + client_s * ceil(clients / workers).

  A worker, of one core, trains its share of the clients one after another; the
  trainer hands out and takes in each client's tensors itself.

  Attributes:
    fixed_s: whatever the cohort.
    each_s: of the trainer, for each client.
    client_s: of a worker, for each of its clients.
  """

  fixed_s: float
  each_s: float
  client_s: float

  @classmethod
  def fit(
    cls,
    clients: Sequence[int],
    workers: Sequence[int],
    rounds_s: Sequence[float],
  ) -> "RoundTime":
    """Finds the times, none negative, with the least relative squared error.

    Args:
      clients: of each round measured.
      workers: of each.
      rounds_s: how long each took.
    """
    measured = np.asarray(rounds_s, float)
    terms = np.array(
      [
        [1.0, c, math.ceil(c / w)]
        for c, w in zip(clients, workers, strict=True)
      ]
    )
    found, _ = scipy.optimize.nnls(
      terms / measured[:, np.newaxis], np.ones(len(measured))
    )
    return cls(*(float(value) for value in found))

  def predict(self, clients: int, workers: int) -> float:
    """Returns the seconds of a round."""
    return (
      self.fixed_s
      + self.each_s * clients
      + self.client_s * math.ceil(clients / workers)
    )

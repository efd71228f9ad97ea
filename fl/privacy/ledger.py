"""What the rounds so far have cost in differential privacy.

The unit is a client: two populations are neighbours if one of their clients has
all its speech in one and none in the other, where it sends zeros. Who is drawn
follows from the seed and the number of clients, so it is the same in both. What
is released is the model after each round.

Each round must count, with whoever came: `PrivacyConfig.check_rounds` refuses
what would let the clients' speech, or the size of a cohort, decide that. An
attempt that crashes releases nothing and is charged nothing; that no client's
speech can crash one is taken for granted, as `admit` turns down what is wrong.

**Sub-models.** With one draw of units for all clients of a round, the units
kept depend on the seed and the round, not on any client's speech. A round then
releases a vector of the sub-model's size: the sum of updates clipped to C, each
over the sub-model's whole vector, plus noise z C on each of its coordinates.
Its sensitivity is C and its noise multiplier z, whatever the size; putting the
values back into the full model, and leaving alone what nobody held, is
post-processing. So a round on sub-models costs exactly what a round on the full
model costs. With a draw for each client this would not hold: a coordinate would
show who held it, and sums over different clients would need noise of their own.
"""

import dataclasses

import dp_accounting
import numpy as np
from dp_accounting import rdp

from fl.privacy.privacy_config import PrivacyConfig

_NEIGHBOURS = dp_accounting.NeighboringRelation


@dataclasses.dataclass(frozen=True)
class PrivacyLedger:
  """Epsilon after so many rounds.

  - Noise fresh each round, and cohorts by Poisson sampling: each round is a
    Gaussian mechanism amplified by sampling (Mironov et al. 2019, "Renyi
    Differential Privacy of the Sampled Gaussian Mechanism").
  - Noise fresh each round, and any other cohorts: a client is charged one
    unamplified Gaussian mechanism for each round that it took part in, and the
    client that took part most often sets epsilon.
  - Tree noise: one tree over all rounds. A client that took part k times has k
    times the sensitivity, so it is charged a tree of noise multiplier z / k.

  Attributes:
    config: what noise there is.
    sampling_probability: of a client in a round, if cohorts are Poisson
      samples; None if they are drawn otherwise.
  """

  config: PrivacyConfig
  sampling_probability: float | None

  def event(
    self, rounds: int, participations: np.ndarray
  ) -> dp_accounting.DpEvent:
    """Returns what happened, in the terms of `dp_accounting`.

    Args:
      rounds: how many are done.
      participations: int64[clients], how often each took part.
    """
    noise_multiplier = self.config.noise_multiplier
    tree = self.config.mechanism == "tree"
    most = int(np.max(participations, initial=0))
    if rounds == 0:
      return dp_accounting.NoOpDpEvent()
    gaussian = dp_accounting.GaussianDpEvent(noise_multiplier)
    if self.sampling_probability is not None and not tree:
      # A coin that showed tails is paid for too: epsilon is for not knowing it.
      return dp_accounting.SelfComposedDpEvent(
        dp_accounting.PoissonSampledDpEvent(
          self.sampling_probability, gaussian
        ),
        rounds,
      )
    if most == 0:
      return dp_accounting.NoOpDpEvent()
    if tree:
      return dp_accounting.SingleEpochTreeAggregationDpEvent(
        noise_multiplier / most, rounds
      )
    return dp_accounting.SelfComposedDpEvent(gaussian, most)

  def epsilon(self, rounds: int, participations: np.ndarray) -> float:
    """Returns epsilon at the configuration's delta; see `event`."""
    tree = self.config.mechanism == "tree"
    accountant = rdp.RdpAccountant(
      neighboring_relation=(
        _NEIGHBOURS.REPLACE_SPECIAL if tree else _NEIGHBOURS.ADD_OR_REMOVE_ONE
      )
    )
    accountant.compose(self.event(rounds, participations))
    return float(accountant.get_epsilon(self.config.delta))

"""Which clients take part in a round."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from lingvo_lite.stage.errors import InputError

SAMPLINGS = ("uniform", "with_replacement", "by_utterances", "poisson")


def check_cohort(cohort: int, clients: int) -> None:
  """Raises InputError if so many cannot be drawn.

  Args:
    cohort: how many take part in a round.
    clients: how many there are.
  """
  if not 1 <= cohort <= clients:
    raise InputError(
      f"found a cohort of {cohort}, expected 1 to the {clients} clients there"
      " are: change --cohort"
    )


@dataclasses.dataclass(frozen=True)
class CohortSampler:
  """Draws each round's clients from the seed, the round and the attempt alone.

  So a resumed run goes on as if it had never stopped, and an attempt that
  failed is followed by one with other clients.

  Attributes:
    utterances: how many each client has, in the order of their numbers.
    cohort: how many take part; with `poisson`, how many on average.
    seed: of the run.
    sampling: `uniform`: distinct clients, all equally likely;
      `with_replacement`: the same, but one may be drawn twice;
      `by_utterances`: distinct, in proportion to their utterances; `poisson`:
      each client takes part or not by a coin of its own, as the accounting of
      differential privacy with amplification by sampling supposes.
    stream: keeps apart what several samplers of a run draw.

  Raises:
    InputError: the cohort is empty or larger than the population, or the
      sampling has no such name.
  """

  utterances: tuple[int, ...]
  cohort: int
  seed: int
  sampling: str
  stream: int = 0

  def __post_init__(self):
    if self.sampling not in SAMPLINGS:
      raise InputError(
        f"found --cohort_sampling={self.sampling}, expected one of"
        f" {', '.join(SAMPLINGS)}"
      )
    check_cohort(self.cohort, len(self.utterances))

  @property
  def probability(self) -> float:
    """The chance of one client to be in a round's cohort, were all alike."""
    return self.cohort / len(self.utterances)

  def draw(self, round_number: int, attempt: int = 0) -> list[int]:
    """Draws a cohort.

    Args:
      round_number: from 0.
      attempt: at this round, from 0.

    Returns:
      Client numbers, ascending; distinct but for `with_replacement`.
    """
    entropy = [self.seed, round_number] + ([attempt] if attempt else [])
    # The first stream's draws are what they were before there were others.
    key = (self.stream,) if self.stream else ()
    draw = np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=key))
    clients = len(self.utterances)
    if self.sampling == "poisson":
      drawn = np.flatnonzero(draw.random(clients) < self.probability)
    elif self.sampling == "by_utterances":
      weights = np.array(self.utterances) / sum(self.utterances)
      drawn = draw.choice(clients, self.cohort, replace=False, p=weights)
    else:
      drawn = draw.choice(
        clients, self.cohort, replace=self.sampling == "with_replacement"
      )
    return sorted(drawn.tolist())


@dataclasses.dataclass(frozen=True)
class TieredSampler:
  """Draws so many clients of each device tier.

  Attributes:
    of_client: the number of each client's tier, in the order of their numbers.
    samplers: of each tier, which know its clients by their order in it.
  """

  of_client: tuple[int, ...]
  samplers: tuple[CohortSampler, ...]

  def draw(self, round_number: int, attempt: int = 0) -> list[int]:
    """Draws a cohort; see `CohortSampler.draw`."""
    tiers = np.array(self.of_client)
    drawn = [
      np.flatnonzero(tiers == tier)[sampler.draw(round_number, attempt)]
      for tier, sampler in enumerate(self.samplers)
    ]
    return sorted(np.concatenate(drawn).tolist())


def tiered_sampler(
  utterances: Sequence[int],
  of_client: Sequence[int],
  cohorts: Sequence[int],
  seed: int,
  sampling: str,
) -> TieredSampler:
  """Returns the sampler of a run with device tiers.

  Args:
    utterances: how many each client has, in the order of their numbers.
    of_client: the number of each client's tier.
    cohorts: how many clients of each tier take part in a round.
    seed: of the run.
    sampling: how a tier's clients are drawn; see `CohortSampler`.

  Raises:
    InputError: see `CohortSampler`.
  """
  return TieredSampler(
    tuple(of_client),
    tuple(
      CohortSampler(
        tuple(
          count
          for count, of in zip(utterances, of_client, strict=True)
          if of == tier
        ),
        cohort,
        seed,
        sampling,
        stream=tier,
      )
      for tier, cohort in enumerate(cohorts)
    ),
  )

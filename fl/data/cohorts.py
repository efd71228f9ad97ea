"""Which clients take part in a round."""

import numpy as np

from lingvo_lite.stage.errors import InputError


def sample_cohort(
  num_clients: int, cohort: int, seed: int, round_number: int
) -> list[int]:
  """Draws a round's clients without replacement.

  Each round's draw depends on the seed and the round alone, so that a resumed
  run goes on as if it had never stopped.

  Args:
    num_clients: how many there are.
    cohort: how many take part.
    seed: of the run.
    round_number: from 0.

  Returns:
    `cohort` distinct client numbers, ascending.

  Raises:
    InputError: the cohort is empty or larger than the population.
  """
  if not 1 <= cohort <= num_clients:
    raise InputError(
      f"found a cohort of {cohort}, expected 1 to the {num_clients} clients"
      " there are: change --cohort"
    )
  draw = np.random.default_rng([seed, round_number])
  return sorted(draw.choice(num_clients, cohort, replace=False).tolist())


def earlier_rounds(
  num_clients: int, cohort: int, seed: int, round_number: int
) -> list[int]:
  """Returns how often each client took part before a round."""
  counts = [0] * num_clients
  for earlier in range(round_number):
    for client in sample_cohort(num_clients, cohort, seed, earlier):
      counts[client] += 1
  return counts

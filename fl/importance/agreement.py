"""Whether two measures put the same parts first."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from scipy import stats

from lingvo_lite.stage.errors import InputError

_RESAMPLES = 2000
_INTERVAL_PERCENT = (2.5, 97.5)


@dataclasses.dataclass(frozen=True)
class Correlation:
  """Spearman's rank correlation and its 95% bootstrap interval."""

  rho: float
  low: float
  high: float


def rank_correlation(
  one: Mapping[str, float], other: Mapping[str, float], seed: int
) -> Correlation | None:
  """Correlates the ranks of the same parts by two measures.

  The interval comes from drawing parts with replacement; draws in which either
  measure is constant say nothing and are left out.

  Args:
    one: a measure, by part.
    other: another, of the same parts.
    seed: of the draws.

  Returns:
    The correlation; None where a measure is the same for all parts, as that of
    a model which recognises nothing yet: there is nothing to rank.

  Raises:
    InputError: the parts differ or are fewer than three.
  """
  first, second = _paired(one, other)
  if np.ptp(first) == 0 or np.ptp(second) == 0:
    return None
  rho = stats.spearmanr(first, second).correlation
  draws = np.random.default_rng(seed).integers(
    len(first), size=[_RESAMPLES, len(first)]
  )
  ranks = [stats.rankdata(values[draws], axis=1) for values in (first, second)]
  centred = [rank - rank.mean(1, keepdims=True) for rank in ranks]
  spread = np.sqrt(np.prod([np.square(c).sum(1) for c in centred], 0))
  usable = spread > 0
  drawn = (centred[0] * centred[1]).sum(1)[usable] / spread[usable]
  low, high = np.percentile(drawn, _INTERVAL_PERCENT)
  return Correlation(float(rho), float(low), float(high))


def kendall_tau(
  one: Mapping[str, float], other: Mapping[str, float]
) -> float | None:
  """Returns Kendall's tau-b of the same parts by two measures.

  None where a measure is the same for all parts.
  """
  first, second = _paired(one, other)
  if np.ptp(first) == 0 or np.ptp(second) == 0:
    return None
  return float(stats.kendalltau(first, second).correlation)


def overlap_at(
  k: int, one: Mapping[str, float], other: Mapping[str, float]
) -> float:
  """Returns which share of the k lowest parts two measures agree on."""
  _paired(one, other)
  lowest = [
    set(sorted(measure, key=lambda name: (measure[name], name))[:k])
    for measure in (one, other)
  ]
  return len(lowest[0] & lowest[1]) / k


def _paired(
  one: Mapping[str, float], other: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray]:
  if set(one) != set(other) or len(one) < 3:
    raise InputError(
      f"found measures of {len(one)} and {len(other)} parts, expected the same"
      " three parts or more: are they of one model?"
    )
  names = sorted(one)
  return (
    np.array([one[name] for name in names]),
    np.array([other[name] for name in names]),
  )

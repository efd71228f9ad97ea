"""Ways to spend a client's budget on the layers of a model.

Each is a function from the groups, their floors and the budget to the units
kept of each group.
"""

import heapq
import math
from collections.abc import Mapping, Sequence

from fl.dropout.budget import Budget
from lingvo_lite.models.unit_groups import UnitGroup
from lingvo_lite.stage.errors import InputError

STRATEGIES = ("ranked", "uniform", "inverse")

_FEW_UNITS = 16
_FIRST_MIN_KEEP_RATE = 0.25


def keep_by_strategy(
  strategy: str,
  groups: Sequence[UnitGroup],
  importances: Mapping[str, float],
  budget: Budget,
  floors: Mapping[str, int],
) -> dict[str, int]:
  """Spends a budget by the strategy of a name.

  Args:
    strategy: one of `STRATEGIES`: `ranked` shrinks the least important groups
      first, `inverse` (its control) the most important, `uniform` all alike.
    groups: the full model's width groups.
    importances: by group name; `uniform` has no use for them.
    budget: what a client may cost.
    floors: least units kept, by group name.

  Returns:
    Units kept, by group name.

  Raises:
    InputError: no such strategy, importances of other groups, or a budget out
      of reach.
  """
  if strategy == "uniform":
    return keep_uniform(groups, budget, floors)
  _check_importances(groups, importances)
  if strategy == "ranked":
    return keep_ranked(groups, importances, budget, floors)
  if strategy == "inverse":
    opposite = {name: -value for name, value in importances.items()}
    return keep_ranked(groups, opposite, budget, floors)
  raise InputError(
    f"found the strategy {strategy!r}, expected one of {', '.join(STRATEGIES)}"
  )


def keep_ranked(
  groups: Sequence[UnitGroup],
  importances: Mapping[str, float],
  budget: Budget,
  floors: Mapping[str, int],
) -> dict[str, int]:
  """Shrinks the least important groups first, until the budget is met.

  Each group shrinks to its floor before the next more important one is
  touched; the last one touched shrinks only as far as it must. What a whole
  unit of that one leaves of the budget goes to the most important of the others
  that shrank, so that plans of one budget have one size but for a unit of the
  smallest kind that shrank, and can be compared.
  """
  kept = {group.name: group.units for group in groups}
  budget.check_reachable(floors, kept)
  order = sorted(groups, key=lambda g: (importances[g.name], g.name))
  for group in order:
    excess = budget.cost(kept) - budget.limit
    if excess <= 0:
      break
    per_unit = budget.per_unit[group.name]
    if per_unit > 0:
      kept[group.name] = max(
        floors[group.name], group.units - -(-excess // per_unit)
      )
  for group in reversed(order):
    dropped = group.units - kept[group.name]
    if dropped:
      left = budget.limit - budget.cost(kept)
      kept[group.name] += min(dropped, left // budget.per_unit[group.name])
  return kept


def keep_uniform(
  groups: Sequence[UnitGroup], budget: Budget, floors: Mapping[str, int]
) -> dict[str, int]:
  """Gives all groups as nearly the same keep rate as whole units allow.

  Beginning with the floors, the group with the lowest keep rate gets one more
  unit, as long as any still fits.
  """
  kept = dict(floors)
  budget.check_reachable(kept, {group.name: group.units for group in groups})
  cost = budget.cost(kept)
  waiting = [
    (kept[group.name] / group.units, place)
    for place, group in enumerate(groups)
    if kept[group.name] < group.units
  ]
  heapq.heapify(waiting)
  while waiting:
    _, place = heapq.heappop(waiting)
    group = groups[place]
    cost_after = cost + budget.per_unit[group.name]
    if cost_after > budget.limit:
      # Another group's unit may be smaller.
      continue
    cost = cost_after
    kept[group.name] += 1
    if kept[group.name] < group.units:
      heapq.heappush(waiting, (kept[group.name] / group.units, place))
  return kept


def floors_of(
  groups: Sequence[UnitGroup], min_keep_rate: float
) -> dict[str, int]:
  """Returns the least units that each group keeps.

  Groups of few units (heads, norm groups) keep at least twice the rate: a
  random half of four heads is a far rougher stand-in for all of them than a
  random quarter of 512 hidden units.

  Args:
    groups: the full model's width groups.
    min_keep_rate: in (0, 1], rounded up to whole units.

  Raises:
    InputError: the rate is out of range.
  """
  if not 0 < min_keep_rate <= 1:
    raise InputError(
      f"found min_keep_rate {min_keep_rate}, expected more than 0 and at most"
      " 1: a layer needs at least one unit"
    )
  floors = {}
  for group in groups:
    rate = min_keep_rate
    if group.units <= _FEW_UNITS:
      rate = min(1.0, 2 * min_keep_rate)
    floors[group.name] = math.ceil(group.units * rate)
  return floors


def reachable_floors(
  groups: Sequence[UnitGroup], budget: Budget
) -> dict[str, int]:
  """Returns the floors of 1/4, 1/8, 1/16, ... that first allow the budget.

  Where none does, those of one unit a group.
  """
  rate = _FIRST_MIN_KEEP_RATE
  floors = floors_of(groups, rate)
  while not budget.fits(floors) and any(n > 1 for n in floors.values()):
    rate /= 2
    floors = floors_of(groups, rate)
  return floors


def _check_importances(
  groups: Sequence[UnitGroup], importances: Mapping[str, float]
) -> None:
  names = {group.name for group in groups}
  for name in sorted(names - set(importances)):
    raise InputError(
      f"found no importance of {name}, expected one for each width group of"
      " the model: make importance.json from this model"
    )
  for name in sorted(set(importances) - names):
    raise InputError(
      f"found an importance of {name!r}, expected only groups of the model,"
      f" such as {groups[0].name!r}: make importance.json from this model"
    )
  for name, value in importances.items():
    if not math.isfinite(value):
      raise InputError(
        f"found the importance {value} of {name}, expected a number: make"
        " importance.json again"
      )

"""A plan that follows what training shows about the layers.

Every n rounds the importances are taken anew from churn: a group that training
hardly moves is one that matters little. Its size stays that of the first plan.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from fl.dropout.budget import client_params_budget
from fl.dropout.plan import DropoutPlan, plan_of
from fl.dropout.strategies import keep_ranked, reachable_floors
from fl.dropout.sub_model import VariableSpec
from lingvo_lite.models.unit_groups import UnitGroup


def phase_ends(rounds: int, refresh_every: int) -> list[int]:
  """Returns the numbers of rounds after which a plan gives way to the next.

  Args:
    rounds: in all.
    refresh_every: rounds between refreshes; 0: there are none.

  Returns:
    Ascending; the last is `rounds`.
  """
  if not refresh_every:
    return [rounds]
  return [*range(refresh_every, rounds, refresh_every), rounds]


def with_hysteresis(
  churn: Mapping[str, float],
  keep_rates: Mapping[str, float],
  hysteresis: float,
) -> dict[str, float]:
  """Returns importances that favour what the plan already keeps.

  importance = churn * (1 + hysteresis * keep rate)

  A group that clients get in part takes the place of one that they get whole
  only if its churn is larger by more than noise: every change of places costs a
  new graph, and takes units from a group that has just been trained.

  Args:
    churn: of each group since the last refresh, by group name.
    keep_rates: of the plan so far.
    hysteresis: 0 favours nothing.
  """
  return {
    name: churn[name] * (1 + hysteresis * keep_rate)
    for name, keep_rate in keep_rates.items()
  }


def refreshed_plan(
  plan: DropoutPlan,
  client_params: int,
  specs: Sequence[VariableSpec],
  groups: Sequence[UnitGroup],
  churn: Mapping[str, float],
  hysteresis: float,
) -> DropoutPlan:
  """Makes a ranked plan from churn.

  Args:
    plan: so far.
    client_params: most parameters of a client: those of the run's first plan,
      so that what whole units leave over does not add up.
    specs: the full model's variables.
    groups: its width groups.
    churn: of each group since the last refresh, by group name.
    hysteresis: see `with_hysteresis`.
  """
  budget = dataclasses.replace(
    client_params_budget(specs, groups, 1.0), limit=client_params
  )
  importances = with_hysteresis(churn, plan.keep_rates, hysteresis)
  kept = keep_ranked(
    groups, importances, budget, reachable_floors(groups, budget)
  )
  return plan_of(plan.model, specs, groups, kept, "churn")

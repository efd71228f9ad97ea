"""What a client's sub-model may cost, and what each unit adds to the cost."""

import dataclasses
from collections.abc import Mapping, Sequence

from fl.dropout.message_sizes import download_bytes
from fl.dropout.sub_model import SubModel, VariableSpec
from lingvo_lite.models.unit_groups import UnitGroup
from lingvo_lite.stage.errors import InputError


@dataclasses.dataclass(frozen=True)
class Budget:
  """A limit on a cost that grows by the same amount with each unit kept.

  cost = fixed + sum over groups of per_unit * units kept

  Attributes:
    name: what is limited: `client_params`, `download_bytes` or
      `peak_memory_bytes`.
    limit: the most that a client may cost.
    fixed: the cost of what belongs to no group.
    per_unit: the cost of a unit, by group name.
  """

  name: str
  limit: int
  fixed: int
  per_unit: Mapping[str, int]

  def cost(self, kept: Mapping[str, int]) -> int:
    """Returns the cost of a sub-model, by the units kept of every group."""
    return self.fixed + sum(self.per_unit[name] * kept[name] for name in kept)

  def fits(self, kept: Mapping[str, int]) -> bool:
    """Returns whether a sub-model is within the limit."""
    return self.cost(kept) <= self.limit

  def check_reachable(
    self, least: Mapping[str, int], whole: Mapping[str, int]
  ) -> None:
    """Raises InputError unless some width from `least` to `whole` fits.

    A limit above the cost of the whole model is refused too: it says something
    else than was meant.
    """
    low, high = self.cost(least), self.cost(whole)
    if not low <= self.limit <= high:
      raise InputError(
        f"found a budget of {self.limit} {self.name}"
        f" ({self.limit / high:.4f} of the full model's), expected {low} to"
        f" {high} ({-(-low * 10**4 // high) / 10**4:.4f} to 1) with these"
        " floors: choose one in that range, or lower --min_keep_rate"
      )


def client_params_budget(
  specs: Sequence[VariableSpec], groups: Sequence[UnitGroup], fraction: float
) -> Budget:
  """Limits a client to a fraction of the full model's parameters.

  Args:
    specs: the full model's variables.
    groups: the full model's width groups.
    fraction: in (0, 1].

  Raises:
    InputError: the fraction is out of range.
  """
  if not 0 < fraction <= 1:
    raise InputError(
      f"found client_params_fraction {fraction}, expected more than 0 and at"
      " most 1: it is a fraction, not a percentage"
    )
  fixed, per_unit = _params(specs, groups)
  server_params = sum(spec.size for spec in specs)
  return Budget("client_params", int(fraction * server_params), fixed, per_unit)


def download_budget(
  specs: Sequence[VariableSpec], groups: Sequence[UnitGroup], limit: int
) -> Budget:
  """Limits the bytes that a client receives each round."""
  fixed, per_unit = _params(specs, groups)
  # `download_bytes` is a line: its slope is what a parameter adds.
  slope = download_bytes(1) - download_bytes(0)
  return Budget(
    "download_bytes",
    limit,
    download_bytes(fixed),
    {name: slope * params for name, params in per_unit.items()},
  )


def _params(
  specs: Sequence[VariableSpec], groups: Sequence[UnitGroup]
) -> tuple[int, dict[str, int]]:
  """Returns the parameters of no group, and those of each group's unit."""
  whole = SubModel(specs, groups, {}).server_params
  per_unit = {
    group.name: (whole - SubModel(specs, groups, {group.name: 1}).client_params)
    // max(group.units - 1, 1)
    for group in groups
    if group.units > 1
  }
  for group in groups:
    # One unit can be no fewer; what it holds counts as fixed.
    per_unit.setdefault(group.name, 0)
  fixed = whole - sum(per_unit[g.name] * g.units for g in groups)
  return fixed, per_unit

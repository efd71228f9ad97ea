"""How much of each layer the clients get, decided before anything runs."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fl.dropout.message_sizes import download_bytes, upload_bytes
from fl.dropout.sub_model import SubModel, VariableSpec
from lingvo_lite.models.unit_groups import UnitGroup
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import read_json, write_json

_FEW_UNITS = 16


@dataclasses.dataclass(frozen=True)
class DropoutPlan:
  """Units that clients keep, and what that costs.

  Attributes:
    model: the full model's configuration, as JSON values; the plan fits no
      other.
    units: of the full model, by group name.
    kept: units that a client keeps, by group name.
    server_params: of the full model.
    client_params: of a client's sub-model.
    download_bytes_per_client: each round.
    upload_bytes_per_client: each round.
  """

  model: Mapping[str, Any]
  units: Mapping[str, int]
  kept: Mapping[str, int]
  server_params: int
  client_params: int
  download_bytes_per_client: int
  upload_bytes_per_client: int

  @property
  def keep_rates(self) -> dict[str, float]:
    """The fraction of its units that each group keeps."""
    return {name: self.kept[name] / units for name, units in self.units.items()}

  def check_model(self, model: Mapping[str, Any]) -> None:
    """Raises InputError unless the plan was made for this model."""
    for name in sorted({*self.model, *model}):
      if self.model.get(name) != model.get(name):
        raise InputError(
          f"found a dropout plan for a model with {name}"
          f" {self.model.get(name)}, expected {model.get(name)}: make the plan"
          " from this model's importance.json"
        )

  def write(self, path: str) -> None:
    """Writes `dropout_plan.json`."""
    values = dataclasses.asdict(self)
    write_json(
      path,
      {
        "schema_version": 1,
        "groups": [
          {
            "group": name,
            "units": units,
            "kept_units": self.kept[name],
            "keep_rate": self.kept[name] / units,
          }
          for name, units in self.units.items()
        ],
        **{k: v for k, v in values.items() if k not in ("units", "kept")},
      },
    )

  @classmethod
  def read(cls, path: str) -> "DropoutPlan":
    """Reads what `write` wrote.

    Raises:
      InputError: the file is missing, damaged, or contradicts itself.
    """
    values = read_json(path, "a dropout plan (dropout_plan.json)")
    try:
      rows = values["groups"]
      fields = {field.name for field in dataclasses.fields(cls)}
      return cls(
        units={row["group"]: int(row["units"]) for row in rows},
        kept={row["group"]: int(row["kept_units"]) for row in rows},
        **{name: values[name] for name in fields - {"units", "kept"}},
      )
    except (KeyError, TypeError, ValueError) as error:
      raise InputError(
        f"found {path} without a proper {error}, expected a dropout plan: make"
        " it again with //fl:plan"
      ) from error


def plan_of(
  model: Mapping[str, Any],
  specs: Sequence[VariableSpec],
  groups: Sequence[UnitGroup],
  kept: Mapping[str, int],
) -> DropoutPlan:
  """Returns the plan that keeps the given units, all its sizes counted."""
  sub_model = SubModel(specs, groups, kept)
  return DropoutPlan(
    model=model,
    units={group.name: group.units for group in groups},
    kept={group.name: kept.get(group.name, group.units) for group in groups},
    server_params=sub_model.server_params,
    client_params=sub_model.client_params,
    download_bytes_per_client=download_bytes(sub_model.client_params),
    upload_bytes_per_client=upload_bytes(sub_model.client_params),
  )


def ranked_plan(
  model: Mapping[str, Any],
  specs: Sequence[VariableSpec],
  groups: Sequence[UnitGroup],
  importances: Mapping[str, float],
  client_params_fraction: float,
  min_keep_rate: float,
) -> DropoutPlan:
  """Shrinks the least important groups first, until the budget is met.

  Each group shrinks to its floor before the next more important one is
  touched; the last one touched shrinks only as far as it must.

  Args:
    model: the full model's configuration, as JSON values.
    specs: the full model's variables.
    groups: the full model's width groups.
    importances: by group name, how much the word error rate rises without what
      the group has learned.
    client_params_fraction: most of the full model's parameters that a client
      may get, in (0, 1].
    min_keep_rate: least fraction of a group's units that is kept, in (0, 1],
      rounded up to whole units; groups of few units (heads, norm groups) keep
      at least twice that.

  Raises:
    InputError: a group has no importance, or the budget cannot be met.
  """
  if not 0 < min_keep_rate <= 1:
    raise InputError(
      f"found min_keep_rate {min_keep_rate}, expected one in (0, 1]"
    )
  for group in groups:
    if group.name not in importances:
      raise InputError(
        f"found no importance of {group.name}, expected one for each width"
        " group of the model: make importance.json from this model"
      )
  floors = {group.name: _floor(group.units, min_keep_rate) for group in groups}
  server_params = SubModel(specs, groups, {}).server_params
  least = SubModel(specs, groups, floors).client_params / server_params
  if not least <= client_params_fraction <= 1:
    # Rounded up, so that the number printed is one that works.
    reachable = -(-least * 10**4 // 1) / 10**4
    raise InputError(
      f"found client_params_fraction {client_params_fraction}, expected"
      f" {reachable:.4f} to 1 for this model with min_keep_rate"
      f" {min_keep_rate}: choose one in that range, or lower --min_keep_rate"
    )
  budget = int(client_params_fraction * server_params)
  kept = {group.name: group.units for group in groups}

  def fits(widths: Mapping[str, int]) -> bool:
    return SubModel(specs, groups, widths).client_params <= budget

  for group in sorted(groups, key=lambda g: (importances[g.name], g.name)):
    if fits(kept):
      break
    low, high = floors[group.name], group.units
    # The widest that fits, or the floor: sizes grow with the width.
    while low < high:
      middle = (low + high + 1) // 2
      if fits({**kept, group.name: middle}):
        low = middle
      else:
        high = middle - 1
    kept[group.name] = low
  return plan_of(model, specs, groups, kept)


def _floor(units: int, min_keep_rate: float) -> int:
  # A random half of four heads is a far rougher stand-in for all of them than a
  # random quarter of 512 hidden units.
  rate = min_keep_rate if units > _FEW_UNITS else min(1.0, 2 * min_keep_rate)
  return math.ceil(units * rate)

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
    strategy: how the units were chosen, by name.
  """

  model: Mapping[str, Any]
  units: Mapping[str, int]
  kept: Mapping[str, int]
  server_params: int
  client_params: int
  download_bytes_per_client: int
  upload_bytes_per_client: int
  strategy: str

  @property
  def keep_rates(self) -> dict[str, float]:
    """The fraction of its units that each group keeps."""
    return {name: self.kept[name] / units for name, units in self.units.items()}

  @property
  def is_whole(self) -> bool:
    """Whether clients get the full model."""
    return self.client_params == self.server_params

  def check_model(self, model: Mapping[str, Any]) -> None:
    """Raises InputError unless the plan was made for this kind of model."""
    for name in sorted({*self.model, *model}):
      if self.model.get(name) != model.get(name):
        raise InputError(
          f"found a dropout plan for a model with {name}"
          f" {self.model.get(name)}, expected {model.get(name)}: make the plan"
          " from this model's importance.json"
        )

  def sub_model(
    self, specs: Sequence[VariableSpec], groups: Sequence[UnitGroup]
  ) -> SubModel:
    """Returns the sub-model that clients get.

    Args:
      specs: the full model's variables.
      groups: its width groups.

    Raises:
      InputError: a group that the model lacks, no unit left of one, or sizes
        other than the plan says.
    """
    for group in groups:
      units = self.units.get(group.name)
      if units != group.units:
        raise InputError(
          f"found a plan for {units or 'no'} units of {group.name}, expected"
          f" {group.units}: make the plan for this model with //fl:plan"
        )
    sub_model = SubModel(specs, groups, self.kept)
    found = (sub_model.server_params, sub_model.client_params)
    if found != (self.server_params, self.client_params):
      raise InputError(
        f"found a plan of {self.client_params} of {self.server_params}"
        f" parameters whose units make {found[1]} of {found[0]}, expected the"
        " same: do not edit plans, make one with //fl:plan"
      )
    return sub_model

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
        units={row["group"]: _whole(row, "units") for row in rows},
        kept={row["group"]: _kept_units(row) for row in rows},
        **{name: values[name] for name in fields - {"units", "kept"}},
      )
    except InputError:
      raise
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
  strategy: str,
) -> DropoutPlan:
  """Returns the plan that keeps the given units, all its sizes counted.

  Args:
    model: the full model's configuration, as JSON values.
    specs: the full model's variables.
    groups: the full model's width groups.
    kept: units kept, by group name.
    strategy: how they were chosen.

  Raises:
    InputError: a group that does not exist, or no unit left of one.
  """
  sub_model = SubModel(specs, groups, kept)
  return DropoutPlan(
    model=model,
    units={group.name: group.units for group in groups},
    kept={group.name: kept.get(group.name, group.units) for group in groups},
    server_params=sub_model.server_params,
    client_params=sub_model.client_params,
    download_bytes_per_client=download_bytes(sub_model.client_params),
    upload_bytes_per_client=upload_bytes(sub_model.client_params),
    strategy=strategy,
  )


def _kept_units(row: Mapping[str, Any]) -> int:
  """Reads the units kept, which the keep rate beside them must agree with."""
  kept, units = _whole(row, "kept_units"), _whole(row, "units")
  found = row["keep_rate"] * units
  if not math.isclose(found, kept, abs_tol=1e-6):
    raise InputError(
      f"found the keep rate {row['keep_rate']} of {row['group']}, {found:g} of"
      f" its {units} units, expected the {kept} kept_units beside it: a plan"
      " keeps one unit or more, and whole ones (a head, a norm group); make one"
      " with //fl:plan"
    )
  return kept


def _whole(row: Mapping[str, Any], name: str) -> int:
  """Reads a count of units; half a head or norm group is none."""
  value = row[name]
  if isinstance(value, bool) or value != int(value):
    raise InputError(
      f"found {value} {name} of {row['group']}, expected whole units: a head or"
      " a norm group cannot be split, make the plan with //fl:plan"
    )
  return int(value)

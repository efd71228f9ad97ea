"""The sub-models of a run's device tiers, and what they cost."""

from collections.abc import Sequence
from typing import Any

from fl.dropout.plan import DropoutPlan, plan_of
from fl.dropout.sub_model import VariableSpec
from fl.dropout.tier_file import DeviceTier
from fl.processes.compose import FederatedProcess
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.unit_groups import UnitGroup


def read_plan(
  tier: DeviceTier,
  model_config: ConformerConfig,
  specs: Sequence[VariableSpec],
  groups: Sequence[UnitGroup],
) -> DropoutPlan:
  """Reads a tier's plan; without one its clients get the whole model.

  Args:
    tier: whose.
    model_config: of the full model.
    specs: the full model's variables.
    groups: its width groups.

  Raises:
    InputError: the plan is missing, damaged or of another model.
  """
  if tier.plan_path is None:
    return plan_of(model_config.to_dict(), specs, groups, {}, "whole")
  plan = DropoutPlan.read(tier.plan_path)
  plan.check_model(model_config.to_dict())
  plan.sub_model(specs, groups)
  return plan


def keep_rates(
  device_tiers: Sequence[DeviceTier], plans: Sequence[DropoutPlan]
) -> dict[str, dict[str, float]]:
  """Returns each tier's keep rate of each group, by name."""
  return {
    tier.name: plan.keep_rates
    for tier, plan in zip(device_tiers, plans, strict=True)
  }


def tier_sizes(
  device_tiers: Sequence[DeviceTier], process: FederatedProcess
) -> list[dict[str, Any]]:
  """Returns a row for each tier: what one of its clients gets and sends."""
  tiers = process.tiers
  return [
    {
      "name": tier.name,
      "clients": tiers.of_client.count(number),
      "cohort": tier.cohort,
      "client_params": tiers.selections[number].sub_model.client_params,
      "download_bytes_per_client": process.download_bytes_per_client[number],
      "upload_bytes_per_client": process.upload_bytes_per_client[number],
    }
    for number, tier in enumerate(device_tiers)
  ]


def mean_sizes(sizes: Sequence[dict[str, Any]]) -> dict[str, int]:
  """Returns the same of a round's average client, rounded.

  Args:
    sizes: as `tier_sizes` makes them.
  """
  cohort = sum(size["cohort"] for size in sizes)
  return {
    name: round(sum(size[name] * size["cohort"] for size in sizes) / cohort)
    for name in (
      "client_params",
      "download_bytes_per_client",
      "upload_bytes_per_client",
    )
  }

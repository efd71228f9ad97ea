"""Which axes of which variables share a width.

The only place that knows it: Federated Dropout and structured pruning both ask
here. The model's width (`d_model`) is in no group: residual paths share its
indices, and dropping from them would mix up what different clients mean by
them.
"""

import dataclasses

import numpy as np

from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.stage.errors import InputError


@dataclasses.dataclass(frozen=True)
class UnitSlice:
  """An axis of a variable along which a group's units lie.

  Attributes:
    variable: the variable's name, as `block_00/ffn_start/expand/kernel:0`.
    axis: the axis.
    unit_size: neighbouring indices that belong to one unit.
    copies: how many times the whole run of units stands one after the other
      (2 for the gate's values and gates).
  """

  variable: str
  axis: int
  unit_size: int = 1
  copies: int = 1


@dataclasses.dataclass(frozen=True)
class UnitGroup:
  """Units that are kept or dropped together in all their variables.

  Attributes:
    name: as `block_00/ffn_start`.
    units: how many the full model has: hidden units, heads, or norm groups of
      channels (single channels where the norm is not a group norm).
    slices: where they lie.
  """

  name: str
  units: int
  slices: tuple[UnitSlice, ...]


def unit_groups(config: ConformerConfig) -> tuple[UnitGroup, ...]:
  """Returns the width groups of the full model, in the order of its layers."""
  full = dataclasses.replace(config, widths=())
  groups = []
  for name, units in full.full_units().items():
    kind = name.split("/")[1]
    if kind == "attention":
      slices = _attention_slices(name, full.d_model // full.num_heads)
    elif kind == "conv":
      slices = _conv_slices(name, full.d_model // units, full.norm)
    else:
      slices = _feed_forward_slices(name)
    groups.append(UnitGroup(name, units, slices))
  return tuple(groups)


def axis_indices(
  group: UnitGroup, unit_slice: UnitSlice, kept_units: np.ndarray
) -> np.ndarray:
  """Returns where the kept units lie along a variable's axis.

  Args:
    group: the group.
    unit_slice: one of its slices.
    kept_units: int[K], distinct units of the group; the result keeps their
      order.

  Returns:
    int64[copies * K * unit_size].

  Raises:
    InputError: a unit that the group does not have, or none at all.
  """
  kept = np.asarray(kept_units, np.int64)
  if kept.size == 0 or kept.min() < 0 or kept.max() >= group.units:
    raise InputError(
      f"found the units {kept.tolist()} for {group.name}, expected at least one"
      f" of 0 to {group.units - 1}"
    )
  copies = np.arange(unit_slice.copies) * group.units
  units = copies[:, np.newaxis] + kept[np.newaxis]
  inner = np.arange(unit_slice.unit_size)
  return (units[..., np.newaxis] * unit_slice.unit_size + inner).reshape(-1)


def _feed_forward_slices(name: str) -> tuple[UnitSlice, ...]:
  return (
    UnitSlice(f"{name}/expand/kernel:0", 1),
    UnitSlice(f"{name}/expand/bias:0", 0),
    UnitSlice(f"{name}/contract/kernel:0", 0),
  )


def _attention_slices(name: str, head_width: int) -> tuple[UnitSlice, ...]:
  slices = []
  for matrix in ("query", "key", "value"):
    slices.append(UnitSlice(f"{name}/{matrix}/kernel:0", 1, head_width))
    slices.append(UnitSlice(f"{name}/{matrix}/bias:0", 0, head_width))
  slices.append(UnitSlice(f"{name}/position/kernel:0", 1, head_width))
  slices.append(UnitSlice(f"{name}/scores/content_bias:0", 0))
  slices.append(UnitSlice(f"{name}/scores/position_bias:0", 0))
  slices.append(UnitSlice(f"{name}/output/kernel:0", 0, head_width))
  return tuple(slices)


def _conv_slices(name: str, unit: int, norm: str) -> tuple[UnitSlice, ...]:
  weights = ["gamma", "beta"]
  if norm == "batch":
    weights += ["moving_mean", "moving_variance"]
  return (
    UnitSlice(f"{name}/expand/kernel:0", 1, unit, copies=2),
    UnitSlice(f"{name}/expand/bias:0", 0, unit, copies=2),
    UnitSlice(f"{name}/depthwise/depthwise_kernel:0", 1, unit),
    UnitSlice(f"{name}/depthwise/bias:0", 0, unit),
    *(
      UnitSlice(f"{name}/inner_norm/{weight}:0", 0, unit) for weight in weights
    ),
    UnitSlice(f"{name}/contract/kernel:0", 0, unit),
  )

"""What a Conformer-CTC model is made of."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from lingvo_lite.stage.errors import InputError

_NORMS = ("group", "layer", "batch")


@dataclasses.dataclass(frozen=True)
class ConformerConfig:
  """A Conformer-CTC model, full or a sub-model of a full one.

  Attributes:
    num_blocks: Conformer blocks.
    d_model: width of the residual path.
    ffn_units: hidden units of each half feed-forward module.
    num_heads: attention heads; they divide `d_model`.
    conv_kernel_size: frames that the depthwise convolution sees; odd.
    subsampling_channels: channels of the two strided convolutions.
    norm_groups: groups of the convolution module's group norm; they divide
      `d_model`. A group is also the unit that Federated Dropout drops.
    num_mel_bins: features a frame.
    vocabulary_size: labels, the blank included.
    norm: `group`, `layer` or `batch`, in the convolution module.
    causal: whether convolutions and norms look at no later frame; attention
      looks no further than the end of its chunk.
    left_context_frames: how many earlier frames (40 ms each) attention sees;
      None: all.
    chunk_frames: frames that are attended from together where `causal`: each
      sees up to the last of them. 1: itself; None: all later frames too.
    dropout_rate: at the end of each module, in training.
    widths: `(group name, units kept)` of the groups that a sub-model narrows;
      see `unit_groups.py` for the names.
  """

  num_blocks: int
  d_model: int
  ffn_units: int
  num_heads: int
  conv_kernel_size: int
  subsampling_channels: int
  norm_groups: int
  num_mel_bins: int = 80
  vocabulary_size: int = 29
  norm: str = "group"
  causal: bool = False
  left_context_frames: int | None = None
  chunk_frames: int | None = 1
  dropout_rate: float = 0.1
  widths: tuple[tuple[str, int], ...] = ()

  def __post_init__(self):
    if self.norm not in _NORMS:
      raise InputError(
        f"found norm {self.norm!r}, expected one of {', '.join(_NORMS)}"
      )
    for divisor in ("num_heads", "norm_groups"):
      if self.d_model % getattr(self, divisor):
        raise InputError(
          f"found d_model {self.d_model} with {divisor}"
          f" {getattr(self, divisor)}, expected a divisor of d_model"
        )
    if self.d_model % 2:
      raise InputError(
        f"found d_model {self.d_model}, expected an even number: positions are"
        " pairs of sine and cosine"
      )
    if self.conv_kernel_size % 2 == 0:
      raise InputError(
        f"found conv_kernel_size {self.conv_kernel_size}, expected an odd one"
      )
    for name, least in (("left_context_frames", 0), ("chunk_frames", 1)):
      frames = getattr(self, name)
      if frames is not None and frames < least:
        raise InputError(
          f"found {name} {frames}, expected {least} or more, or none given"
        )
    if not 0 <= self.dropout_rate < 1:
      raise InputError(
        f"found dropout_rate {self.dropout_rate}, expected one in [0, 1)"
      )
    full = self.full_units()
    for name, units in self.widths:
      if name not in full:
        raise InputError(
          f"found the group {name!r}, expected one of this model's, such as"
          f" {next(iter(full))!r}: is the plan for another model?"
        )
      if not 1 <= units <= full[name]:
        raise InputError(
          f"found {units} units for {name}, expected 1 to {full[name]}"
        )

  def full_units(self) -> dict[str, int]:
    """Returns how many units each width group has in the full model."""
    conv_units = self.norm_groups if self.norm == "group" else self.d_model
    units = {}
    for index in range(self.num_blocks):
      block = block_name(index)
      units[f"{block}/ffn_start"] = self.ffn_units
      units[f"{block}/attention"] = self.num_heads
      units[f"{block}/conv"] = conv_units
      units[f"{block}/ffn_end"] = self.ffn_units
    return units

  @property
  def streams(self) -> bool:
    """Whether the model can run on sound as it comes, in bounded memory."""
    return (
      self.causal
      and self.left_context_frames is not None
      and self.chunk_frames is not None
    )

  def units(self, group: str) -> int:
    """Returns how many units of a width group this model has."""
    return dict(self.widths).get(group, self.full_units()[group])

  def keep_rate(self, group: str) -> float:
    """Returns the fraction of a group's units that this model has."""
    return self.units(group) / self.full_units()[group]

  def with_widths(self, widths: Mapping[str, int]) -> "ConformerConfig":
    """Returns the configuration of a sub-model that keeps `widths` units."""
    return dataclasses.replace(self, widths=tuple(sorted(widths.items())))

  def to_dict(self) -> dict[str, Any]:
    """Returns the configuration as JSON values."""
    return {**dataclasses.asdict(self), "widths": dict(self.widths)}

  @classmethod
  def from_dict(cls, values: Mapping[str, Any]) -> "ConformerConfig":
    """Reads what `to_dict` returned."""
    try:
      widths = tuple(sorted(values.get("widths", {}).items()))
      return cls(**{**values, "widths": widths})
    except (TypeError, AttributeError) as error:
      raise InputError(
        f"found a model configuration that does not fit ({error}), expected one"
        " written by this release: make the model again"
      ) from error


def block_name(index: int) -> str:
  """Returns the name that the layers of block `index` begin with."""
  return f"block_{index:02d}"

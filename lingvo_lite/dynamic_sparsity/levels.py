"""The ladder of sparsities that one set of weights is trained to work at."""

import dataclasses

from lingvo_lite.stage.errors import InputError

# Names of levels are whole percents.
_PERCENT_TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class SparsityLevels:
  """Which sparsities there are, and what is zeroed together.

  Attributes:
    sparsities: fraction of a matrix's weights that are zero at each level,
      densest level first; whole percents in [0, 1).
    block: how many neighbours along a matrix's inputs are zeroed together.
  """

  sparsities: tuple[float, ...] = (0.0, 0.5, 0.7, 0.8, 0.9)
  block: int = 16

  def __post_init__(self):
    found = self.sparsities
    if not found or not all(0 <= sparsity < 1 for sparsity in found):
      raise InputError(
        f"found the levels {list(found)}, expected one or more, each in [0, 1):"
        " 0.8 is a level at which 80% of the weights are zero"
      )
    if any(a >= b for a, b in zip(found[:-1], found[1:], strict=True)):
      raise InputError(
        f"found the levels {list(found)}, expected increasing ones: name each"
        " once, the densest first"
      )
    for sparsity in found:
      if abs(100 * sparsity - round(100 * sparsity)) > _PERCENT_TOLERANCE:
        raise InputError(
          f"found the level {sparsity}, expected whole percents: levels are"
          " named after them, such as s80"
        )
    if self.block < 1:
      raise InputError(
        f"found blocks of {self.block} weights, expected 1 or more"
      )

  def index(self, sparsity: float) -> int:
    """Returns which level that is; InputError: none of them."""
    if sparsity not in self.sparsities:
      raise InputError(
        f"found the level {sparsity}, expected one of {list(self.sparsities)}"
      )
    return self.sparsities.index(sparsity)


def level_name(sparsity: float) -> str:
  """Returns what a level is called: `s80` where 80% of the weights are zero."""
  return f"s{round(100 * sparsity):02d}"

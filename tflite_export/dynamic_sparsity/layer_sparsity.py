"""How sparse each layer is at each level."""

from collections.abc import Mapping, Sequence

import numpy as np

from lingvo_lite.dynamic_sparsity.levels import SparsityLevels
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import read_json

# Densities of the most ambient and of the most critical group, as multiples of
# the mean.
_FEWEST, _MOST = 0.5, 1.5
_BISECTIONS = 60

# Layer name -> sparsity at each level.
LayerSparsity = dict[str, tuple[float, ...]]


def uniform_sparsity(
  names: Sequence[str], levels: SparsityLevels
) -> LayerSparsity:
  """Makes every layer as sparse as its level is called."""
  return {name: levels.sparsities for name in names}


def sparsity_by_importance(
  sizes: Mapping[str, int],
  levels: SparsityLevels,
  deltas: Mapping[str, float],
) -> LayerSparsity:
  """Makes the most ambient layers the sparsest; the mean is the level's.

  Groups are ranked by how much the error rate rises when they are reset. The
  density of a layer is `min(1, c * f)`: f grows with the rank from 0.5 to 1.5,
  and c is what makes the mean over all weights the density of the level. It
  grows with the density, so levels stay nested.

  Args:
    sizes: layer name -> number of weights.
    levels: the ladder.
    deltas: width group -> rise of the error rate; see `read_deltas`. Layers of
      no group (the subsampling) get the factor 1.

  Raises:
    InputError: no group is one of the model's.
  """
  order = sorted(deltas, key=lambda group: deltas[group])
  steps = np.linspace(_FEWEST, _MOST, len(order))
  factors = np.ones(len(sizes))
  matched = 0
  for index, name in enumerate(sizes):
    for group, factor in zip(order, steps, strict=True):
      if name.startswith(f"{group}/"):
        factors[index] = factor
        matched += 1
  if not matched:
    raise InputError(
      f"found importances of {', '.join(order[:3]) or 'no group'}, expected"
      f" groups of this model, such as that of {next(iter(sizes))}: is the file"
      " of another model?"
    )
  weights = np.array(list(sizes.values()), np.float64)
  weights /= weights.sum()
  columns = []
  for sparsity in levels.sparsities:
    low, high = 0.0, 1 / factors.min()
    for _ in range(_BISECTIONS):
      middle = (low + high) / 2
      if np.minimum(1, middle * factors) @ weights < 1 - sparsity:
        low = middle
      else:
        high = middle
    columns.append(1 - np.minimum(1, high * factors))
  table = np.stack(columns, axis=1)
  return {
    name: tuple(float(sparsity) for sparsity in row)
    for name, row in zip(sizes, table, strict=True)
  }


def read_deltas(path: str) -> dict[str, float]:
  """Reads width groups' rises of the error rate from importance.json.

  Raises:
    InputError: the file is missing, damaged or without groups.
  """
  values = read_json(path, "layer importances (importance.json)")
  try:
    deltas = {
      str(row["group"]): float(row["delta"])
      for row in values["rows"]
      if row["kind"] == "group"
    }
  except (KeyError, TypeError, ValueError) as error:
    raise InputError(
      f"found {path} damaged ({error!r}), expected what //fl:importance writes:"
      " run it again"
    ) from error
  if not deltas:
    raise InputError(
      f"found no width group in {path}, expected some: run //fl:importance"
      " with groups"
    )
  return deltas

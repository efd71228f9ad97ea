"""How sparse each layer is at each level."""

from collections.abc import Mapping, Sequence

import numpy as np

from lingvo_lite.dynamic_sparsity.levels import SparsityLevels
from lingvo_lite.models.conformer_config import ConformerConfig
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


def read_deltas(
  path: str, config: ConformerConfig, model_sha256: str
) -> dict[str, float]:
  """Reads width groups' rises of the error rate from importance.json.

  Args:
    path: what //fl:importance wrote.
    config: of the model that is to become sparse.
    model_sha256: of its model.keras; importances of one checkpoint say nothing
      certain about another.

  Raises:
    InputError: the file is missing, damaged, about another model or
      checkpoint, or has not exactly the model's width groups.
  """
  values = read_json(path, "layer importances (importance.json)")
  try:
    deltas = {
      str(row["group"]): float(row["delta"])
      for row in values["rows"]
      if row["kind"] == "group"
    }
    probed = dict(values["model"])
    digest = str(values["model_sha256"])
  except (KeyError, TypeError, ValueError) as error:
    raise InputError(
      f"found {path} damaged ({error!r}), expected what //fl:importance writes:"
      " run it again"
    ) from error
  model = config.to_dict()
  for name in sorted({*probed, *model}):
    if probed.get(name) != model.get(name):
      raise InputError(
        f"found {path} to be about a model with {name} {probed.get(name)},"
        f" expected {model.get(name)}: probe this model with //fl:importance"
      )
  groups = set(config.full_units())
  for names, what in (
    (groups - set(deltas), "without"),
    (set(deltas) - groups, "with other width groups than the model's:"),
  ):
    if names:
      raise InputError(
        f"found {path} {what} {', '.join(sorted(names)[:3])}, expected each of"
        f" the model's {len(groups)} width groups and no other: probe this"
        " model with //fl:importance"
      )
  if digest != model_sha256:
    raise InputError(
      f"found {path} to be about another checkpoint (model.keras) with SHA-256"
      f" {digest[:12]}, expected {model_sha256[:12]}: probe this one with"
      " //fl:importance"
    )
  return deltas

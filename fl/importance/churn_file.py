"""`churn.json`: how far each part of a model moved, and what that says."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fl.dropout.sub_model import VariableSpec
from fl.importance.agreement import overlap_at, rank_correlation
from fl.importance.churn import Churn, mean_churn
from fl.importance.probes import Part
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.model_file import load_model
from lingvo_lite.stage.errors import InputError


def central_churn(
  paths: Sequence[str], parts: Sequence[Part]
) -> dict[str, Any]:
  """Measures churn between a run's saved models, in the order given.

  Args:
    paths: two `.keras` files of one run or more, the earliest first.
    parts: what is measured as one.

  Returns:
    `intervals` (churn by part, between each two), `mean` over them, and
    `distance` from the first to the last.

  Raises:
    InputError: fewer than two, or of different models.
  """
  if len(paths) < 2:
    raise InputError(
      f"found {len(paths)} saved models, expected two or more of one run"
    )
  first_config, specs, values = _trained(paths[0])
  churn = Churn(specs, parts)
  first = before = values
  intervals = []
  for path in paths[1:]:
    config, _, after = _trained(path)
    if config != first_config:
      raise InputError(
        f"found {path} to be another model than {paths[0]}, expected saved"
        " models of one run"
      )
    intervals.append(churn.relative(before, after))
    before = after
  return {
    "intervals": intervals,
    "mean": mean_churn(intervals),
    "distance": churn.distance(first, before),
  }


def against_importance(
  measure: Mapping[str, float], importances: Mapping[str, float], seed: int
) -> dict[str, float | None]:
  """Says whether what moves little matters little.

  Args:
    measure: churn or distance of each group.
    importances: rise in word error rate, of the same groups.
    seed: of the bootstrap.

  Returns:
    Spearman's `rho` with its 95% interval `low` and `high` (None where the
    importances are all the same), and
    `overlap_at_quarter`: which share of the least important quarter of groups
    is in the quarter that moved least.
  """
  chosen = {name: measure[name] for name in importances}
  found = rank_correlation(chosen, importances, seed)
  quarter = max(1, len(chosen) // 4)
  return {
    "rho": found.rho if found else None,
    "low": found.low if found else None,
    "high": found.high if found else None,
    "overlap_at_quarter": overlap_at(quarter, chosen, importances),
  }


def _trained(
  path: str,
) -> tuple[ConformerConfig, list[VariableSpec], np.ndarray]:
  """Reads the weights that gradients train, float32[P]."""
  model, config = load_model(path)
  variables = model.trainable_variables
  specs = [VariableSpec(v.name, tuple(v.shape)) for v in variables]
  return config, specs, np.concatenate([v.numpy().ravel() for v in variables])

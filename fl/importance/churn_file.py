"""`churn.json`: how far each part of a model moved, and what that says."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fl.dropout.sub_model import VariableSpec
from fl.importance.agreement import overlap_at, rank_correlation
from fl.importance.churn import Churn, mean_churn
from fl.importance.importance_file import check_kind
from fl.importance.probes import Part
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.model_file import load_model
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import read_json


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


def federated_churn(path: str) -> dict[str, Any]:
  """Reads what the rounds of a federated run say.

  Args:
    path: its `training.json`.

  Returns:
    `intervals` (churn by part, of each round) and `mean` over them.

  Raises:
    InputError: the file is missing or damaged, or has no churn.
  """
  rows = read_json(path, "the rounds of a federated run").get("rows")
  if not rows or "churn" not in rows[0]:
    raise InputError(
      f"found no churn in the rounds of {path}, expected it in each: train"
      " again with //fl:train of this release"
    )
  intervals = [row["churn"] for row in rows]
  return {"intervals": intervals, "mean": mean_churn(intervals)}


def read_churn(
  path: str,
  model: Mapping[str, Any],
  model_sha256: str,
  groups: Sequence[str],
) -> dict[str, float]:
  """Reads how far each width group moved, to plan by in place of importances.

  Args:
    path: a `churn.json` of //fl:churn.
    model: the configuration of the model to plan for, as JSON values.
    model_sha256: of its model.keras, where the run that moved it ended.
    groups: names of its width groups.

  Returns:
    Of each group, how far it came from where the run began (which is what goes
    with importance), if the file has it; of a federated run, the mean churn.

  Raises:
    InputError: the file is missing or damaged, or about another model or run.
  """
  values = read_json(path, "churn (churn.json)")
  mend = "measure this model's run with //fl:churn"
  try:
    moved = values.get("distance", values["mean"])
    moved = {name: float(moved[name]) for name in groups}
    found, digest = dict(values["model"]), str(values["model_sha256"])
  except (KeyError, TypeError, ValueError) as error:
    raise InputError(
      f"found {path} without a proper {error}, expected the churn of this"
      f" model's groups: {mend}"
    ) from error
  check_kind(path, found, model, mend)
  if digest != model_sha256:
    raise InputError(
      f"found {path} to be about a run that ended in a model.keras with SHA-256"
      f" {digest[:12]}, expected {model_sha256[:12]}: {mend}"
    )
  return moved


def last_model(training_path: str) -> str:
  """Returns where a federated run left its model, beside `training.json`."""
  path = os.path.join(os.path.dirname(training_path), "model.keras")
  if not os.path.exists(path):
    raise InputError(
      f"found no {path}, expected the model that the run ended with: keep"
      " training.json in the folder that //fl:train wrote"
    )
  return path


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

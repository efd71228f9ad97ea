"""`importance.json`: what the reset probes found."""

from collections.abc import Mapping, Sequence
from typing import Any

from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import read_json, write_json


def write_importance(
  path: str,
  model: Mapping[str, Any],
  baseline_wer: float,
  ambient_threshold: float,
  rows: Sequence[Mapping[str, Any]],
) -> None:
  """Writes the rows, and the model that they are about."""
  write_json(
    path,
    {
      "schema_version": 1,
      "model": dict(model),
      "baseline_wer": baseline_wer,
      "ambient_threshold": ambient_threshold,
      "rows": [dict(row) for row in rows],
    },
  )


def read_importance(path: str, model: Mapping[str, Any]) -> dict[str, float]:
  """Reads how much each width group matters.

  Args:
    path: what `write_importance` wrote.
    model: the configuration of the model that a plan is made for.

  Returns:
    By name of the width group, the rise in word error rate.

  Raises:
    InputError: the file is missing, damaged or about another model.
  """
  values = read_json(path, "layer importances (importance.json)")
  try:
    found = values["model"]
    deltas = {
      row["group"]: float(row["delta"])
      for row in values["rows"]
      if row["kind"] == "group"
    }
  except (KeyError, TypeError, ValueError) as error:
    raise InputError(
      f"found {path} without a proper {error}, expected layer importances:"
      " make it again with //fl:importance"
    ) from error
  for name in sorted({*found, *model}):
    if found.get(name) != model.get(name):
      raise InputError(
        f"found {path} to be about a model with {name} {found.get(name)},"
        f" expected {model.get(name)}: probe this model with //fl:importance"
      )
  return deltas

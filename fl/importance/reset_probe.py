"""How much worse a model gets when one of its parts forgets what it learned.

Reference: Zhang et al., "Are All Layers Created Equal?", section 3: one layer
at a time goes back to the run's own initial values. A part is ambient if that
barely matters, critical if it does.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from fl.importance.error_counts import (
  ErrorCounts,
  count_errors,
  difference_interval,
)
from lingvo_lite.metrics.recognition import Recognizer
from lingvo_lite.models.conformer_config import ConformerConfig, block_name
from lingvo_lite.stage.errors import InputError


@dataclasses.dataclass(frozen=True)
class Part:
  """A part of a model that is reset as one.

  Attributes:
    name: what its variables' names begin with, up to a `/`.
    kind: `group` (the module of a width group) or `block`.
  """

  name: str
  kind: str


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
  """What a reset did.

  Attributes:
    part: what was reset.
    counts: the word errors after it.
  """

  part: Part
  counts: ErrorCounts


def parts_of(config: ConformerConfig) -> list[Part]:
  """Returns every width group's module and every block, in model order."""
  groups = [Part(name, "group") for name in config.full_units()]
  blocks = [
    Part(block_name(index), "block") for index in range(config.num_blocks)
  ]
  return groups + blocks


class ResetProbe:
  """Resets parts of a trained model one at a time.

  The model holds its trained values again after each probe, however it ends.

  Args:
    model: the trained model; probed in place.
    initial: the values that its training began with, by variable name.
    recognizer: of the same model, on held-out speech.

  Raises:
    InputError: the initial values are of another model.
  """

  def __init__(
    self,
    model: tf.keras.Model,
    initial: Mapping[str, np.ndarray],
    recognizer: Recognizer,
  ) -> None:
    for variable in model.variables:
      if variable.name not in initial or (
        initial[variable.name].shape != tuple(variable.shape)
      ):
        raise InputError(
          f"found no initial value that fits {variable.name}, expected"
          " initial.keras of the run that made model.keras: take both from one"
          " folder"
        )
    self._model = model
    self._initial = initial
    self._recognizer = recognizer

  def baseline(self) -> ErrorCounts:
    """Measures the model as it was trained."""
    return count_errors(
      self._recognizer.references, self._recognizer.hypotheses()
    )

  def outcomes(self, parts: Sequence[Part]) -> Iterator[Outcome]:
    """Yields what each part's reset does, in the order given."""
    for part in parts:
      variables = [
        variable
        for variable in self._model.variables
        if variable.name.startswith(part.name + "/")
      ]
      if not variables:
        raise InputError(
          f"found no variables of {part.name}, expected a group or block of"
          " this model"
        )
      trained = [variable.numpy() for variable in variables]
      try:
        for variable in variables:
          variable.assign(self._initial[variable.name])
        yield Outcome(part, self.baseline())
      finally:
        for variable, value in zip(variables, trained, strict=True):
          variable.assign(value)


def importance_rows(
  baseline: ErrorCounts,
  outcomes: Sequence[Outcome],
  ambient_threshold: float,
  seed: int,
) -> list[dict[str, Any]]:
  """Makes the rows of `importance.json`.

  Args:
    baseline: of the model as it was trained.
    outcomes: of the resets.
    ambient_threshold: largest rise in word error rate (a fraction) that still
      counts as ambient.
    seed: of the bootstrap.

  Returns:
    For each outcome, in order: `group`, `kind`, `probe`, `wer`, `delta`, `ci`
    (95% interval of delta), `rank` (1 is the most important of its kind) and
    `ambient`.
  """
  rows: list[dict[str, Any]] = []
  for outcome in outcomes:
    delta = outcome.counts.rate - baseline.rate
    rows.append(
      {
        "group": outcome.part.name,
        "kind": outcome.part.kind,
        "probe": "reinit",
        "wer": outcome.counts.rate,
        "delta": delta,
        "ci": list(difference_interval(outcome.counts, baseline, seed)),
        "rank": 0,
        "ambient": delta <= ambient_threshold,
      }
    )
  for kind in {row["kind"] for row in rows}:
    of_kind = [row for row in rows if row["kind"] == kind]
    of_kind.sort(key=lambda row: -row["delta"])
    for rank, row in enumerate(of_kind, start=1):
      row["rank"] = rank
  return rows

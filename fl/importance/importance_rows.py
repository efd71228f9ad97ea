"""Rows of `importance.json`, from the word errors of probes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fl.importance.error_counts import ErrorCounts, difference_interval
from fl.importance.probes import Part


def importance_rows(
  baseline: ErrorCounts,
  parts: Sequence[Part],
  counts: Sequence[ErrorCounts],
  probe: str,
  ambient_threshold: float,
  seed: int,
) -> list[dict[str, Any]]:
  """Makes a row for each part.

  Args:
    baseline: of the model as it was trained.
    parts: what was reset.
    counts: what that did, in the same order.
    probe: how it was reset: `reinit`, `rerand`, or `reinit:` and the file of
      the values.
    ambient_threshold: a part is ambient if the whole interval of the rise in
      word error rate (a fraction) is at most this.
    seed: of the bootstrap.

  Returns:
    For each part, in order: `group`, `kind`, `probe`, `wer`, `delta`, `ci`
    (95% interval of delta), `rank` (1 is the most important of its kind) and
    `ambient`.
  """
  rows: list[dict[str, Any]] = []
  for part, counted in zip(parts, counts, strict=True):
    low, high = difference_interval(counted, baseline, seed)
    rows.append(
      {
        "group": part.name,
        "kind": part.kind,
        "probe": probe,
        "wer": counted.rate,
        "delta": counted.rate - baseline.rate,
        "ci": [low, high],
        "rank": 0,
        "ambient": high <= ambient_threshold,
      }
    )
    if part.kind == "joint":
      rows[-1]["groups"] = list(part.prefixes)
  for kind in {row["kind"] for row in rows}:
    of_kind = [row for row in rows if row["kind"] == kind]
    of_kind.sort(key=lambda row: -row["delta"])
    for rank, row in enumerate(of_kind, start=1):
      row["rank"] = rank
  return rows


def mean_counts(draws: Sequence[ErrorCounts]) -> ErrorCounts:
  """Averages each utterance's errors over several draws of a probe."""
  errors = np.mean([counts.errors for counts in draws], 0)
  return ErrorCounts(errors, draws[0].words)


def most_ambient(rows: Sequence[dict[str, Any]], k: int) -> list[str]:
  """Returns the k groups whose reset costs least, the cheapest first."""
  groups = [row for row in rows if row["kind"] == "group"]
  groups.sort(key=lambda row: (row["delta"], row["group"]))
  return [row["group"] for row in groups[:k]]

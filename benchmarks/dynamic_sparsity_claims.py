"""What the dynamic sparsity benchmark claims, computed from its rows."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.dynamic_sparsity_cells import DYNAMIC, SINGLE
from benchmarks.result_file import Claim

Row = Mapping[str, Any]

_RESAMPLES = 2000
_MEASURED_LEVEL = "s80"


def claims(rows: Sequence[Row]) -> list[Claim]:
  """Returns every claim; a figure whose rows are missing has no value."""
  files = {row["level"]: row for row in rows if row["kind"] == "file"}
  whole = next((row for row in rows if row["kind"] == "whole"), None)
  levels = sorted({row["level"] for row in rows if row["kind"] == "wer"})
  found = []
  for level in levels:
    dense = level == levels[0]
    found.append(
      Claim(
        f"{level}, relative WER regression against the net trained at that"
        f" sparsity alone{' (plain dense training)' if dense else ''}",
        regression(rows, level),
        "<= 0.01" if dense else "<= 0.03",
      )
    )
  found.append(
    Claim(
      "seconds of a step, of those of plain dense training, less the passes of"
      " a step",
      _cost_over_passes(rows),
      "<= 0",
    )
  )
  sparse, dense_file = files.get(_MEASURED_LEVEL), files.get("s00")

  def share(key: str) -> float | None:
    if sparse is None or dense_file is None:
      return None
    return sparse[key] / dense_file[key]

  found += [
    Claim("s80, latency of dense int8's", share("latency_ms"), "<= 0.6"),
    Claim("s80, bytes of dense int8's", share("bytes"), "<= 0.35"),
    Claim(
      "the file of all levels, of the separate files together",
      _figure(whole, "bytes_of_separate_files"),
      "<= 1",
    ),
  ]
  memory = None
  if whole and files:
    memory = max(
      whole["peak_rss_bytes"][level] / files[level]["peak_rss_bytes"]
      for level in files
    )
  found += [
    Claim(
      "the file of all levels with one in use, peak memory of that level's own"
      " file (the worst level)",
      memory,
      "<= 1",
    ),
    Claim(
      "a switch between levels, ms (the slowest)",
      _figure(whole, "switch_ms_largest"),
      "<= 1",
    ),
    Claim(
      "memory that switching takes after the first use of a level, MB",
      _figure(whole, "switching_grows_rss_bytes", 1e-6),
      "<= 1",
    ),
  ]
  return found


def regression(rows: Sequence[Row], level: str) -> float | None:
  """Returns the relative difference of the mean WERs over seeds at a level."""
  means = [_mean_wer(rows, method, level) for method in (DYNAMIC, SINGLE)]
  if means[0] is None or not means[1]:
    return None
  return means[0] / means[1] - 1


def difference_interval(
  rows: Sequence[Row], level: str
) -> tuple[float, float] | None:
  """Returns the 95% interval of the WER's difference, dynamic less single.

  Utterances are resampled, the same for both; edits are means over seeds.
  """
  edits = []
  for method in (DYNAMIC, SINGLE):
    chosen = _of(rows, method, level)
    if not chosen:
      return None
    edits.append(np.mean([row["edits"] for row in chosen], axis=0))
    words = np.array(chosen[0]["utterance_words"])
  picks = np.random.default_rng(0).integers(
    0, len(words), [_RESAMPLES, len(words)]
  )
  rates = (edits[0] - edits[1])[picks].sum(1) / words[picks].sum(1)
  low, high = np.quantile(rates, [0.025, 0.975])
  return float(low), float(high)


def _figure(row: Row | None, key: str, factor: float = 1.0) -> float | None:
  return None if row is None else factor * row[key]


def _cost_over_passes(rows: Sequence[Row]) -> float | None:
  """Returns how far the cost of a step is above its number of passes."""
  steps = {
    method: [
      row["step_ms"]
      for row in _of(rows, method, "s00")
      if row["step_ms"] is not None
    ]
    for method in (DYNAMIC, SINGLE)
  }
  if not all(steps.values()):
    return None
  ratio = statistics.mean(steps[DYNAMIC]) / statistics.mean(steps[SINGLE])
  return ratio - _of(rows, DYNAMIC, "s00")[0]["passes"]


def _mean_wer(rows: Sequence[Row], method: str, level: str) -> float | None:
  chosen = _of(rows, method, level)
  return statistics.mean(row["wer"] for row in chosen) if chosen else None


def _of(rows: Sequence[Row], method: str, level: str) -> list[Row]:
  return [
    row
    for row in rows
    if row["kind"] == "wer"
    and row["method"] == method
    and row["level"] == level
  ]

"""What the dynamic sparsity benchmark claims, computed from its rows."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.dynamic_sparsity_cells import DYNAMIC, SINGLE
from benchmarks.result_file import Claim
from lingvo_lite.dynamic_sparsity.levels import SparsityLevels, level_name

Row = Mapping[str, Any]

_RESAMPLES = 2000
_DENSE_LEVEL, _MEASURED_LEVEL = "s00", "s80"


def claims(
  rows: Sequence[Row], levels: SparsityLevels, passes: int
) -> list[Claim]:
  """Returns every claim; a figure whose rows are missing has no value.

  Args:
    rows: of all kinds.
    levels: the ladder, which says what is claimed of.
    passes: how many times a step of its training runs the model.
  """
  files = {row["level"]: row for row in rows if row["kind"] == "file"}
  whole = next((row for row in rows if row["kind"] == "whole"), None)
  found = []
  for sparsity in levels.sparsities:
    level = level_name(sparsity)
    found.append(
      Claim(
        f"{level}, relative WER regression against the net trained at that"
        f" sparsity alone{'' if sparsity else ' (plain dense training)'}",
        regression(rows, level),
        "<= 0.03" if sparsity else "<= 0.01",
      )
    )
  found.append(
    Claim(
      "seconds of a step, of those of plain dense training (target: the passes"
      " of a step)",
      _step_cost(rows),
      f"<= {passes}",
    )
  )
  sparse, dense_file = files.get(_MEASURED_LEVEL), files.get(_DENSE_LEVEL)

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
  means = [mean_wer(rows, method, level) for method in (DYNAMIC, SINGLE)]
  if means[0] is None or not means[1]:
    return None
  return means[0] / means[1] - 1


def mean_wer(rows: Sequence[Row], method: str, level: str) -> float | None:
  """Returns the mean WER over seeds; None: there is no row."""
  chosen = _of(rows, method, level)
  return statistics.mean(row["wer"] for row in chosen) if chosen else None


def wer_interval(
  rows: Sequence[Row], method: str, level: str
) -> tuple[float, float] | None:
  """Returns the 95% interval of a method's WER, edits being means over seeds.

  Utterances are resampled, seeds are not. None: there is no row.
  """
  found = _mean_edits(rows, method, level)
  return None if found is None else _interval(*found)


def difference_interval(
  rows: Sequence[Row], level: str, other: str
) -> tuple[float, float] | None:
  """Returns the 95% interval of the WER's difference, dynamic less another.

  Utterances are resampled, the same for both; edits are means over seeds. None:
  a row is missing.
  """
  found = _mean_edits(rows, DYNAMIC, level), _mean_edits(rows, other, level)
  if found[0] is None or found[1] is None:
    return None
  return _interval(found[0][0] - found[1][0], found[0][1])


def _figure(row: Row | None, key: str, factor: float = 1.0) -> float | None:
  return None if row is None else factor * row[key]


def _mean_edits(
  rows: Sequence[Row], method: str, level: str
) -> tuple[np.ndarray, np.ndarray] | None:
  """Returns each utterance's edits, means over seeds, and its words."""
  chosen = _of(rows, method, level)
  if not chosen:
    return None
  edits = np.mean([row["edits"] for row in chosen], axis=0)
  return edits, np.array(chosen[0]["utterance_words"])


def _interval(edits: np.ndarray, words: np.ndarray) -> tuple[float, float]:
  """Returns the bootstrap interval of sum(edits) / sum(words)."""
  picks = np.random.default_rng(0).integers(
    0, len(words), [_RESAMPLES, len(words)]
  )
  rates = edits[picks].sum(1) / words[picks].sum(1)
  low, high = np.quantile(rates, [0.025, 0.975])
  return float(low), float(high)


def _step_cost(rows: Sequence[Row]) -> float | None:
  """Returns a step's time, of one of plain dense training."""
  means = []
  for method in (DYNAMIC, SINGLE):
    steps = [
      row["step_ms"]
      for row in _of(rows, method, _DENSE_LEVEL)
      if row["step_ms"] is not None
    ]
    if not steps:
      return None
    means.append(statistics.mean(steps))
  return means[0] / means[1]


def _of(rows: Sequence[Row], method: str, level: str) -> list[Row]:
  return [
    row
    for row in rows
    if row["kind"] == "wer"
    and row["method"] == method
    and row["level"] == level
  ]

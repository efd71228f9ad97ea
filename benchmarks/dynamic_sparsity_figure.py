"""The figure of dynamic sparsity: error rate against sparsity."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from benchmarks.dynamic_sparsity_cells import DYNAMIC, PRUNED, SINGLE
from lingvo_lite.stage.files import whole_file

_LINES = (
  (DYNAMIC, "one set of weights, all levels", "#1f77b4", "o"),
  (SINGLE, "a network a level", "#2ca02c", "s"),
  (PRUNED, "pruned after training", "#d62728", "^"),
)


def write_figure(rows: Sequence[Mapping[str, Any]], path: str) -> None:
  """Draws the WER at each level, a line a method, as SVG.

  Marks are means over seeds, bars reach from the smallest to the largest.

  Args:
    rows: of the kind `wer`.
    path: of the file.
  """
  figure = Figure(figsize=(6.0, 3.6))
  axes = figure.add_subplot()
  for method, label, color, marker in _LINES:
    of_method = [row for row in rows if row["method"] == method]
    levels = sorted({row["sparsity"] for row in of_method})
    wers = [
      [row["wer"] for row in of_method if row["sparsity"] == level]
      for level in levels
    ]
    means = [statistics.mean(found) for found in wers]
    axes.errorbar(
      levels,
      means,
      yerr=[
        [m - min(found) for m, found in zip(means, wers, strict=True)],
        [max(found) - m for m, found in zip(means, wers, strict=True)],
      ],
      label=label,
      color=color,
      marker=marker,
      markersize=5,
      linewidth=1.2,
      elinewidth=0.8,
      capsize=2,
    )
  axes.set_xlabel("fraction of the weights that are zero, in 1 x 16 blocks")
  axes.set_ylabel("WER, unseen speakers (synthetic)")
  axes.set_ylim(bottom=0)
  axes.tick_params(labelsize=7)
  axes.grid(alpha=0.25)
  axes.legend(fontsize=7)
  with whole_file(path) as temporary:
    with matplotlib.rc_context({"svg.hashsalt": "dynamic_sparsity"}):
      figure.savefig(
        temporary,
        format="svg",
        bbox_inches="tight",
        metadata={"Date": None, "Creator": None},
      )

"""The figure of dynamic sparsity: error rate against what a level costs."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.dynamic_sparsity_cells import DYNAMIC, PRUNED, SINGLE
from lingvo_lite.stage.files import whole_file

Row = Mapping[str, Any]

# The last two may lie on each other: the larger marks are drawn first.
_LINES = (
  (PRUNED, "pruned after training", "#d62728", "^", 5),
  (SINGLE, "a network a level", "#2ca02c", "s", 7),
  (DYNAMIC, "one set of weights, all levels", "#1f77b4", "o", 4),
)
_COLOR = _LINES[-1][2]


def write_figure(rows: Sequence[Row], path: str) -> None:
  """Draws the WER at each level against sparsity, bytes and latency, as SVG.

  On the left a line a method: marks are means over seeds, bars reach from the
  smallest to the largest. The others are of the exported files of one ladder,
  bars being 95% intervals.

  Args:
    rows: of the kinds `wer` and `file`; others are left out.
    path: of the file.
  """
  figure = Figure(figsize=(11.0, 3.6), layout="constrained")
  methods, size, latency = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
  _draw_methods(methods, [row for row in rows if row["kind"] == "wer"])
  files = [row for row in rows if row["kind"] == "file"]
  _draw_files(size, files, [row["bytes"] / 1e6 for row in files])
  size.set_xlabel("MB of the level's int8 file", fontsize=8)
  _draw_files(latency, files, [row["latency_ms"] for row in files])
  latency.set_xlabel("ms for about 3 s of sound, one thread", fontsize=8)
  for axes in (methods, size, latency):
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)
  for axes in (size, latency):
    axes.set_ylabel("WER on LiteRT, unseen speakers (synthetic)", fontsize=8)
  with whole_file(path) as temporary:
    with matplotlib.rc_context({"svg.hashsalt": "dynamic_sparsity"}):
      figure.savefig(
        temporary,
        format="svg",
        bbox_inches="tight",
        metadata={"Date": None, "Creator": None},
      )


def _draw_methods(axes: Axes, rows: Sequence[Row]) -> None:
  for method, label, color, marker, size in _LINES:
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
      markersize=size,
      markerfacecolor="white" if method == SINGLE else color,
      linewidth=1.2,
      elinewidth=0.8,
      capsize=2,
    )
  axes.set_xlabel(
    "fraction of the weights that are zero, in 1 x 16 blocks", fontsize=8
  )
  axes.set_ylabel("WER, unseen speakers (synthetic)", fontsize=8)
  axes.legend(fontsize=7)


def _draw_files(
  axes: Axes, files: Sequence[Row], costs: Sequence[float]
) -> None:
  """Draws a mark a level, with its name."""
  # Room for the last name.
  axes.set_xlim(0, 1.15 * max(costs))
  for row, cost in zip(files, costs, strict=True):
    low, high = row["wer_on_litert_interval"]
    wer = row["wer_on_litert"]
    axes.errorbar(
      [cost],
      [wer],
      yerr=[[max(0, wer - low)], [max(0, high - wer)]],
      color=_COLOR,
      marker="o",
      markersize=5,
      elinewidth=0.8,
      capsize=2,
    )
    axes.annotate(
      row["level"],
      (cost, wer),
      textcoords="offset points",
      xytext=(5, 4),
      fontsize=7,
      color=_COLOR,
    )

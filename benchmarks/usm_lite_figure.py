"""The figure of the USM-Lite ablation: error rate against size."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from benchmarks.usm_lite_ladder import BASELINE
from lingvo_lite.stage.files import whole_file

_COLORS = {None: "#444444", 8: "#1f77b4", 4: "#2ca02c", 2: "#d62728"}
_MARKERS = {None: "o", (2, 4): "s", (1, 4): "^"}


def write_figure(rows: Sequence[Mapping[str, Any]], path: str) -> None:
  """Draws WER against the size in transport form, as SVG.

  Filled marks were trained with both in place, hollow ones only rounded;
  circles are dense, squares 2:4, triangles 1:4.

  Args:
    rows: of the ladder.
    path: of the file.
  """
  base = next(row for row in rows if row["recipe"] == BASELINE)
  figure = Figure(figsize=(7.0, 4.2))
  axes = figure.add_subplot()
  for row in rows:
    kept_of = row["kept_of"] and tuple(row["kept_of"])
    color = _COLORS[row["bits"]]
    if row["bits_by_layer"]:
      color = "#9467bd"
    low, high = row["wer_interval"]
    share = row["transport_bytes"] / base["bytes"]
    aware = row["fine_tune_steps"] > 0 or row["recipe"] == BASELINE
    axes.errorbar(
      [share],
      [row["wer"]],
      yerr=[[max(0, row["wer"] - low)], [max(0, high - row["wer"])]],
      fmt=_MARKERS[kept_of],
      color=color,
      markerfacecolor=color if aware else "white",
      elinewidth=0.8,
      markersize=6,
    )
    axes.annotate(
      row["recipe"].removesuffix("_aware").removesuffix("_rounded"),
      (share, row["wer"]),
      textcoords="offset points",
      # On either side, and one below: they lie close together.
      xytext=(2, -14) if row["bits_by_layer"] else (5 if aware else -5, 4),
      ha="left" if aware else "right",
      fontsize=6,
      color=color,
    )
  axes.axhline(base["wer"], color="#999999", linewidth=0.8)
  axes.set_xscale("log")
  axes.set_yscale("log")
  # Room for the names at both ends.
  axes.margins(x=0.12)
  ticks = (0.03, 0.05, 0.1, 0.2, 0.5, 1.0)
  axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
  axes.yaxis.set_major_formatter("{x:g}")
  axes.yaxis.set_minor_formatter("{x:g}")
  axes.tick_params(labelsize=7, which="both")
  axes.set_xlabel("size in transport form, of float32's file")
  axes.set_ylabel("WER, unseen speakers (synthetic speech)")
  axes.set_title(
    "filled: trained with pruning and rounding; hollow: rounded only",
    fontsize=8,
  )
  axes.grid(alpha=0.25)
  with whole_file(path) as temporary:
    with matplotlib.rc_context({"svg.hashsalt": "usm_lite"}):
      figure.savefig(
        temporary,
        format="svg",
        bbox_inches="tight",
        metadata={"Date": None, "Creator": None},
      )

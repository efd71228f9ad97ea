"""The figure of the USM-Lite ablation: error rate against size."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.usm_lite_ladder import BASELINE
from lingvo_lite.stage.files import whole_file

_MIXED = "mixed"
_COLORS = {
  None: "#444444",
  8: "#1f77b4",
  4: "#2ca02c",
  2: "#d62728",
  _MIXED: "#9467bd",
}
_MARKERS = {None: "o", (2, 4): "s", (1, 4): "^"}
_SIZE = 6


def write_figure(rows: Sequence[Mapping[str, Any]], path: str) -> None:
  """Draws WER against the size in transport form, as SVG.

  Filled marks were trained with both in place, hollow ones only rounded.

  Args:
    rows: of `usm_lite_main`: the ladder, and the control where there is one.
    path: of the file.
  """
  rungs = [row for row in rows if row["kind"] == "ladder"]
  base = next(row for row in rungs if row["recipe"] == BASELINE)
  figure = Figure(figsize=(7.0, 4.2))
  axes = figure.add_subplot()
  for row in rungs:
    kept_of = row["kept_of"] and tuple(row["kept_of"])
    color = _COLORS[_MIXED if row["bits_by_layer"] else row["bits"]]
    low, high = row["wer_interval"]
    aware = row["fine_tune_steps"] > 0 or row["recipe"] == BASELINE
    axes.errorbar(
      [row["transport_bytes"] / base["bytes"]],
      [row["wer"]],
      yerr=[[max(0, row["wer"] - low)], [max(0, high - row["wer"])]],
      fmt=_MARKERS[kept_of],
      color=color,
      markerfacecolor=color if aware else "white",
      elinewidth=0.8,
      markersize=_SIZE,
    )
  lines = [(base["wer"], "-", "float32")]
  lines += [
    (row["wer"], ":", "float32, trained as long as what is pruned")
    for row in rows
    if row["kind"] == "control"
  ]
  for wer, style, name in lines:
    axes.axhline(wer, color="#999999", linewidth=0.9, linestyle=style, zorder=0)
    # On the left, where no file is so small and so good.
    axes.annotate(
      name,
      (0.01, wer),
      xycoords=("axes fraction", "data"),
      textcoords="offset points",
      xytext=(0, 3 if style == "-" else -8),
      ha="left",
      fontsize=6,
      color="#777777",
    )
  axes.set_xscale("log")
  axes.set_yscale("log")
  ticks = (0.03, 0.05, 0.1, 0.2, 0.5, 1.0)
  axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
  axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
  axes.minorticks_off()
  axes.tick_params(labelsize=7)
  axes.set_xlabel("size in transport form, of float32's file")
  axes.set_ylabel("WER, unseen speakers (synthetic speech)")
  axes.grid(alpha=0.25)
  axes.legend(
    handles=_legend(),
    fontsize=7,
    loc="lower center",
    bbox_to_anchor=(0.5, 1.0),
    ncols=5,
    frameon=False,
  )
  with whole_file(path) as temporary:
    with matplotlib.rc_context({"svg.hashsalt": "usm_lite"}):
      figure.savefig(
        temporary,
        format="svg",
        bbox_inches="tight",
        metadata={"Date": None, "Creator": None},
      )


def _legend() -> list[Line2D]:
  """Returns what the colours, the marks and their filling mean."""

  def mark(label: str, color: str, marker: str, filled: bool = True) -> Line2D:
    return Line2D(
      [],
      [],
      linestyle="",
      label=label,
      color=color,
      marker=marker,
      markerfacecolor=color if filled else "white",
      markersize=_SIZE,
    )

  names: dict[Any, str] = {None: "float32", _MIXED: "by layer"}
  bits = [
    mark(names.get(key, f"int{key}"), color, "o")
    for key, color in _COLORS.items()
  ]
  grey = _COLORS[None]
  shapes = [
    mark("dense" if key is None else f"{key[0]}:{key[1]}", grey, marker, False)
    for key, marker in _MARKERS.items()
  ]
  return [
    *bits,
    *shapes,
    mark("trained so", grey, "o"),
    mark("rounded only", grey, "o", False),
  ]

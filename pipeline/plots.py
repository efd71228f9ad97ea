"""Plots as SVG that takes its colours and its font from the page.

Each colour drawn here is a placeholder that becomes a CSS variable, so that one
plot serves a light and a dark page.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

_INK, _MUTED, _GRID, _CARD = "#000001", "#000002", "#000003", "#000004"
_SERIES = ("#000005", "#000006", "#000007")
_AMBIENT, _CRITICAL = "#000008", "#000009"
_VARIABLES = {
  _INK: "--ink",
  _MUTED: "--muted",
  _GRID: "--line",
  _CARD: "--card",
  _SERIES[0]: "--series-1",
  _SERIES[1]: "--series-2",
  _SERIES[2]: "--series-3",
  _AMBIENT: "--ambient",
  _CRITICAL: "--critical",
}
_STYLE = {
  "svg.fonttype": "none",
  "font.family": "DejaVu Sans",
  "font.size": 9,
  "text.color": _INK,
  "axes.labelcolor": _MUTED,
  "axes.edgecolor": _GRID,
  "axes.facecolor": "none",
  "axes.grid": True,
  "axes.axisbelow": True,
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.titlesize": 10,
  "axes.titlelocation": "left",
  "figure.facecolor": "none",
  "grid.color": _GRID,
  "grid.linewidth": 0.8,
  "xtick.color": _MUTED,
  "ytick.color": _MUTED,
  "xtick.major.size": 0,
  "xtick.minor.size": 0,
  "ytick.major.size": 0,
  "legend.frameon": False,
}


def importance_bars(rows: Sequence[Mapping[str, Any]]) -> str:
  """Draws what resetting each part of the model costs.

  Args:
    rows: `group`, `delta` (WER minus the whole model's), `ambient` and, where
      it was measured, `delta_low` and `delta_high`; drawn top to bottom.

  Returns:
    An `<svg>` element.
  """
  with matplotlib.rc_context(_STYLE):
    figure = Figure(figsize=(8.6, 0.235 * len(rows) + 0.75))
    axes = figure.add_subplot()
    positions = range(len(rows))
    axes.barh(
      positions,
      [row["delta"] for row in rows],
      height=0.68,
      color=[_AMBIENT if row["ambient"] else _CRITICAL for row in rows],
    )
    axes.errorbar(
      [row["delta"] for row in rows],
      positions,
      xerr=_half_widths(rows, "delta"),
      fmt="none",
      ecolor=_INK,
      elinewidth=0.9,
      capsize=2,
    )
    axes.set_yticks(positions, [row["group"] for row in rows])
    axes.tick_params(axis="y", labelcolor=_INK)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.grid(axis="y", visible=False)
    axes.axvline(0, color=_MUTED, linewidth=0.9)
    axes.set_xlabel("WER added by the reset (1.00 = one error a word)")
    return _svg(figure, "importance")


def curves(
  rows: Sequence[Mapping[str, Any]], x: str, figures: Mapping[str, str]
) -> str:
  """Draws figures as they went along training, one panel a figure.

  Args:
    rows: what was recorded; a row may lack a figure.
    x: the key along the horizontal axis.
    figures: key -> the panel's title; keys with one title share a panel.

  Returns:
    An `<svg>` element.
  """
  titles = list(dict.fromkeys(figures.values()))
  with matplotlib.rc_context(_STYLE):
    figure = Figure(figsize=(4.3, 2.0 * len(titles)))
    panels = figure.subplots(len(titles), 1, sharex=True, squeeze=False)[:, 0]
    for panel, title in zip(panels, titles, strict=True):
      keys = [key for key, value in figures.items() if value == title]
      for color, key in zip(_SERIES, keys, strict=False):
        points = [(row[x], row[key]) for row in rows if row.get(key) is not None]
        if not points:
          continue
        panel.plot(
          *zip(*points, strict=True),
          color=color,
          linewidth=1.8,
          marker="o" if len(points) < 15 else "",
          markersize=3.5,
          label=key.removesuffix("_wer").replace("_", " "),
        )
      panel.set_title(title, color=_INK)
      panel.set_ylim(bottom=0)
      panel.margins(x=0.02)
      if len(keys) > 1:
        panel.legend(fontsize=8, labelcolor=_INK)
    panels[-1].set_xlabel(x)
    panels[-1].xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return _svg(figure, f"curves-{x}-{titles[0]}")


def trade_off(models: Sequence[Mapping[str, Any]], x: str, label: str) -> str:
  """Draws WER against what a model costs.

  Args:
    models: rows of the report's `models`.
    x: the cost's key, on a logarithmic axis.
    label: the cost's name, unit included; bytes are drawn as kB.

  Returns:
    An `<svg>` element.
  """
  scale = 1e-3 if x.endswith("bytes") else 1.0
  costs = [model[x] * scale for model in models]
  with matplotlib.rc_context(_STYLE):
    figure = Figure(figsize=(4.3, 3.0))
    axes = figure.add_subplot()
    axes.errorbar(
      costs,
      [model["wer"] for model in models],
      yerr=_half_widths(models, "wer"),
      fmt="o",
      color=_SERIES[0],
      ecolor=_SERIES[0],
      elinewidth=1,
      capsize=2.5,
      markersize=6,
    )
    # Far enough apart that the recipes' names do not run into each other.
    for place, (cost, model) in enumerate(
      sorted(zip(costs, models, strict=True), key=lambda pair: pair[0])
    ):
      above = place % 2 == 0
      axes.annotate(
        model["recipe"],
        (cost, model["wer"]),
        xytext=(7, 7 if above else -7),
        textcoords="offset points",
        verticalalignment="bottom" if above else "top",
        fontsize=8,
      )
    axes.set_xscale("log")
    axes.set_xlim(min(costs) / 1.25, max(costs) * 1.7)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    highest = max(model.get("wer_high", model["wer"]) for model in models)
    axes.set_ylim(0, highest * 1.15 + 0.01)
    axes.set_xticks(_log_ticks(min(costs) / 1.25, max(costs) * 1.7))
    axes.set_xlabel(f"{label}, logarithmic")
    axes.set_title("WER, all of eval/", color=_INK)
    return _svg(figure, f"trade-off-{x}")


def _log_ticks(low: float, high: float) -> list[float]:
  """Returns 1, 2, 5 x 10^n between the ends."""
  steps = [m * 10.0**n for n in range(-6, 10) for m in (1, 2, 5)]
  return [step for step in steps if low <= step <= high]


def _half_widths(
  rows: Sequence[Mapping[str, Any]], key: str
) -> tuple[list[float], list[float]]:
  """Returns the lengths of the error bars, 0 where no interval is known."""
  return (
    [max(0.0, row[key] - row.get(f"{key}_low", row[key])) for row in rows],
    [max(0.0, row.get(f"{key}_high", row[key]) - row[key]) for row in rows],
  )


def _svg(figure: Figure, name: str) -> str:
  """Writes a figure as an element to be put into HTML."""
  text = io.StringIO()
  # The name keeps identifiers of several plots on one page apart, and the
  # same plot the same bytes.
  with matplotlib.rc_context({"svg.hashsalt": name}):
    figure.savefig(
      text,
      format="svg",
      bbox_inches="tight",
      pad_inches=0.04,
      metadata={key: None for key in ("Creator", "Date", "Format", "Type")},
    )
  svg = text.getvalue()
  svg = svg[svg.index("<svg") :]
  svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
  svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg)
  svg = svg.replace("xlink:href", "href")
  svg = re.sub(r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", r"<svg \1>", svg)
  svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
  for color, variable in _VARIABLES.items():
    svg = svg.replace(color, f"var({variable})")
  return svg

"""Plots as SVG that takes its colours and its font from the page.

Each colour drawn here is a placeholder that becomes a CSS variable, so that one
plot serves a light and a dark page.
"""

import io
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

_INK, _MUTED, _GRID, _CARD = "#000001", "#000002", "#000003", "#000004"
_AMBIENT, _CRITICAL = "#000005", "#000006"
_SERIES = tuple(f"#00001{index}" for index in range(1, 9))
_VARIABLES = {
  _INK: "--ink",
  _MUTED: "--muted",
  _GRID: "--line",
  _CARD: "--card",
  _AMBIENT: "--ambient",
  _CRITICAL: "--critical",
  **{color: f"--series-{n}" for n, color in enumerate(_SERIES, start=1)},
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


def importance_bars(
  rows: Sequence[Mapping[str, Any]], keep_rates: Mapping[str, float]
) -> str:
  """Draws what resetting each part of the model costs, blocks below.

  Args:
    rows: of the report's `importance`.
    keep_rates: by width group, the fraction of its units that clients keep.

  Returns:
    An `<svg>` element.
  """
  kinds = list(dict.fromkeys(row["kind"] for row in rows))
  counts = [sum(row["kind"] == kind for row in rows) for kind in kinds]
  with matplotlib.rc_context(_STYLE):
    figure = Figure(figsize=(8.6, 0.235 * len(rows) + 0.9))
    panels = figure.subplots(
      len(kinds), 1, sharex=True, squeeze=False, height_ratios=counts
    )[:, 0]
    for panel, kind in zip(panels, kinds, strict=True):
      parts = [row for row in rows if row["kind"] == kind]
      _bars(panel, parts, keep_rates)
    panels[-1].set_xlabel("WER added by the reset (1.00 = one error a word)")
    figure.subplots_adjust(hspace=0.08)
    return _svg(figure, "importance")


def _bars(
  axes: Axes,
  rows: Sequence[Mapping[str, Any]],
  keep_rates: Mapping[str, float],
) -> None:
  """Draws bars top to bottom, with intervals."""
  positions = range(len(rows))
  deltas = [row["delta"] for row in rows]
  axes.barh(
    positions,
    deltas,
    height=0.68,
    color=[_AMBIENT if row["ambient"] else _CRITICAL for row in rows],
  )
  axes.errorbar(
    deltas,
    positions,
    xerr=_error_bars(deltas, [row["ci"] for row in rows]),
    fmt="none",
    ecolor=_INK,
    elinewidth=0.9,
    capsize=2,
  )
  labels = []
  for row in rows:
    keep_rate = keep_rates.get(row["group"])
    note = "" if keep_rate is None else f" · keeps {100 * keep_rate:3.0f} %"
    labels.append(row["group"] + note)
  axes.set_yticks(positions, labels)
  axes.tick_params(axis="y", labelcolor=_INK)
  axes.invert_yaxis()
  axes.margins(y=0.01)
  axes.grid(axis="y", visible=False)
  axes.axvline(0, color=_MUTED, linewidth=0.9)


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
        points = [(row[x], row[key]) for row in rows if key in row]
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
    figure.tight_layout()
    return _svg(figure, f"curves-{x}-{titles[0]}")


def trade_off(models: Sequence[Mapping[str, Any]], x: str, label: str) -> str:
  """Draws WER against what a model costs.

  Args:
    models: rows of the report's `models`.
    x: the cost's key; bytes are drawn as kB on a logarithmic axis.
    label: the cost's name, unit included.

  Returns:
    An `<svg>` element.
  """
  in_bytes = x.endswith("bytes")
  costs = [model[x] / (1e3 if in_bytes else 1) for model in models]
  with matplotlib.rc_context(_STYLE):
    figure = Figure(figsize=(4.3, 3.0))
    axes = figure.add_subplot()
    for color, cost, model in zip(
      itertools.cycle(_SERIES), costs, models, strict=False
    ):
      axes.errorbar(
        [cost],
        [model["wer"]],
        yerr=_error_bars([model["wer"]], [model["wer_interval"]]),
        fmt="o",
        color=color,
        elinewidth=1.2,
        capsize=3,
        markersize=7,
        label=model["recipe"],
      )
    if in_bytes:
      low, high = min(costs) / 1.2, max(costs) * 1.2
      axes.set_xscale("log")
      axes.set_xlim(low, high)
      axes.set_xticks(_log_ticks(low, high))
      axes.xaxis.set_major_formatter("{x:g}")
      axes.xaxis.set_minor_formatter(NullFormatter())
    else:
      axes.set_xlim(0, max(costs) * 1.15)
    highest = max(model["wer_interval"][1] for model in models)
    axes.set_ylim(0, highest * 1.15 + 0.01)
    axes.set_xlabel(label)
    axes.set_ylabel("WER, all of eval/")
    axes.legend(
      loc="upper center",
      bbox_to_anchor=(0.45, -0.2),
      ncols=3,
      fontsize=8,
      labelcolor=_INK,
      handletextpad=0.2,
    )
    return _svg(figure, f"trade-off-{x}")


def _log_ticks(low: float, high: float) -> list[float]:
  """Returns 1, 2, 3, 5 x 10^n between the ends."""
  steps = [m * 10.0**n for n in range(-6, 10) for m in (1, 2, 3, 5)]
  return [step for step in steps if low <= step <= high] or [low, high]


def _error_bars(
  values: Sequence[float], intervals: Sequence[tuple[float, float]]
) -> tuple[list[float], list[float]]:
  """Returns how far each interval reaches below and above its value."""
  pairs = list(zip(values, intervals, strict=True))
  return (
    [max(0.0, value - low) for value, (low, _) in pairs],
    [max(0.0, high - value) for value, (_, high) in pairs],
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

"""The figure of streaming on the device."""

from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

from lingvo_lite.stage.files import whole_file

_OURS, _OTHERS = "#4c8577", "#d0973c"


def draw_figure(path: str, rows: Sequence[dict[str, Any]]) -> None:
  """Draws error rates with intervals, and how long a chunk takes.

  Args:
    path: where the PNG goes.
    rows: of `edge_main`.
  """
  streaming = [
    row for row in rows if row["kind"] == "streaming" and row["threads"] == 1
  ]
  bars = [(f"{row['recipe']}\nstreaming", row, _OURS) for row in streaming]
  bars += [
    (f"{row['recipe']}\nwhole", row, _OTHERS)
    for row in rows
    if row["kind"] == "full_context"
  ]
  figure, (errors, times) = pyplot.subplots(1, 2, figsize=(8, 3.2), dpi=120)
  for place, (_, row, color) in enumerate(bars):
    low, high = row["wer_interval"]
    errors.bar(place, 100 * row["wer"], 0.6, color=color)
    errors.vlines(place, 100 * low, 100 * high, "#333333")
  errors.set_xticks(range(len(bars)), [bar[0] for bar in bars], fontsize=7)
  errors.set_ylabel("word error rate, %")
  for place, row in enumerate(streaming):
    times.bar(place, row["chunk_ms"], 0.6, color=_OURS)
    times.vlines(place, row["chunk_ms"], row["chunk_ms_p95"], "#333333")
  names = [f"{row['recipe']}\n{row['bytes'] / 1e6:.1f} MB" for row in streaming]
  times.set_xticks(range(len(streaming)), names, fontsize=7)
  times.set_ylabel("ms for a chunk of 320 ms, one thread\nmedian, line to 95%")
  times.yaxis.label.set_fontsize(8)
  for axes in (errors, times):
    axes.spines[["top", "right"]].set_visible(False)
  figure.tight_layout()
  with whole_file(path) as beside:
    figure.savefig(beside, format="png")
  pyplot.close(figure)

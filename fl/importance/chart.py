"""A picture of what each part of a model is worth."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

from lingvo_lite.stage.files import whole_file

_CRITICAL = "#b5483a"
_AMBIENT = "#4c8577"
_INK = "#333333"
_LABELS = {
  "ffn_start": "first ½ feed-forward",
  "attention": "self-attention",
  "conv": "convolution",
  "ffn_end": "second ½ feed-forward",
}


def draw_importance(
  path: str,
  rows: Sequence[Mapping[str, Any]],
  baseline_wer: float,
  ambient_threshold: float,
) -> None:
  """Draws a bar for each part: the rise in word error rate without it.

  Args:
    path: the PNG file to write.
    rows: of `importance.json`.
    baseline_wer: word error rate (a fraction) of the model as trained.
    ambient_threshold: where ambient ends.
  """
  rows = _grouped_by_block(rows)
  height = 1.6 + 0.27 * len(rows)
  figure, axes = pyplot.subplots(figsize=(8.5, height))
  for place, row in enumerate(rows):
    low, high = row["ci"]
    delta = row["delta"]
    whole = row["kind"] == "block"
    axes.barh(
      place,
      delta,
      height=0.78 if whole else 0.6,
      color=_AMBIENT if row["ambient"] else _CRITICAL,
      alpha=1.0 if whole else 0.75,
      xerr=[[max(delta - low, 0)], [max(high - delta, 0)]],
      error_kw={"ecolor": _INK, "elinewidth": 1, "capsize": 2},
    )
    axes.annotate(
      f"{delta:+.3f}",
      # Right of the dotted line too, which would cross it.
      (max(high, delta, ambient_threshold), place),
      (4, 0),
      textcoords="offset points",
      va="center",
      fontsize=8,
      color=_INK,
    )
  axes.axvline(ambient_threshold, color=_INK, linewidth=0.8, linestyle=":")
  axes.axvline(0, color=_INK, linewidth=0.8)
  axes.set_yticks(range(len(rows)), [_label(row) for row in rows], fontsize=9)
  for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
    tick.set_fontweight("bold" if row["kind"] == "block" else "normal")
  axes.invert_yaxis()
  axes.margins(x=0.12, y=0.01)
  axes.set_xlabel(
    "rise in word error rate when the part is reset to its initial values"
    f" (as trained: {baseline_wer:.3f}; bars: 95% interval)",
    fontsize=8.5,
  )
  axes.set_title(
    "What each layer is worth", loc="left", fontsize=13, fontweight="bold"
  )
  handles = [
    pyplot.Rectangle((0, 0), 1, 1, color=color)
    for color in (_AMBIENT, _CRITICAL)
  ]
  axes.legend(
    handles,
    [f"ambient (at most {ambient_threshold:+.3f})", "critical"],
    frameon=False,
    fontsize=8.5,
    loc="lower right",
    bbox_to_anchor=(1, 1),
    ncols=2,
  )
  for side in ("top", "right", "left"):
    axes.spines[side].set_visible(False)
  axes.tick_params(axis="y", length=0)
  figure.tight_layout()
  with whole_file(path) as temporary:
    # Without a fixed entry matplotlib stores its version only; no date.
    figure.savefig(temporary, dpi=130, format="png")
  pyplot.close(figure)


def _grouped_by_block(
  rows: Sequence[Mapping[str, Any]],
) -> list[Mapping[str, Any]]:
  """Each block followed by its groups, in the model's order."""
  order = {row["group"]: number for number, row in enumerate(rows)}
  return sorted(
    rows,
    key=lambda row: (
      row["group"].split("/")[0],
      row["kind"] != "block",
      order[row["group"]],
    ),
  )


def _label(row: Mapping[str, Any]) -> str:
  block, _, module = row["group"].partition("/")
  if not module:
    return f"{block.replace('_', ' ')}, whole"
  return _LABELS.get(module, module)

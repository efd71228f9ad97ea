"""Figures of the layer study."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

from benchmarks.layer_heterogeneity_claims import Row, mean_wer
from fl.importance.chart import draw_importance
from lingvo_lite.stage.files import whole_file

_COLORS = {
  "full": "#333333",
  "ranked": "#4c8577",
  "uniform": "#d0973c",
  "inverse": "#b5483a",
}
_DOMAINS = ("general", "commands")


def draw_figures(
  folder: str, rows: Sequence[Row], importance: Mapping[str, Any]
) -> None:
  """Draws what there are rows for.

  Args:
    folder: where the PNG files go.
    rows: of the study.
    importance: `importance.json` of the base model.
  """
  draw_importance(
    os.path.join(folder, "layer_importance.png"),
    importance["rows"],
    importance["baseline_wer"],
    importance["ambient_threshold"],
  )
  central = [r["run"] for r in rows if r["kind"] == "churn"]
  resets = [r for r in rows if r["kind"] == "reset" and r["part"] == "group"]
  for run in central:
    of_run = [r for r in resets if r["run"] == run]
    times = [r for r in of_run if r["probe"].startswith("reinit")]
    if len({r["probe"] for r in times}) > 1:
      _draw_heat_map(os.path.join(folder, f"layer_heat_map_{run}.png"), times)
  if central:
    _draw_churn(
      os.path.join(folder, "layer_churn.png"),
      [r for r in rows if r["kind"] == "churn"],
      resets,
    )
  if any(r["kind"] == "federated" for r in rows):
    _draw_sizes(os.path.join(folder, "layer_sizes.png"), rows)


def _draw_heat_map(path: str, rows: Sequence[Row]) -> None:
  """Rise in word error rate: group down, checkpoint reset to across."""
  groups = list(dict.fromkeys(r["group"] for r in rows))
  probes = list(dict.fromkeys(r["probe"] for r in rows))
  # In the order of time: the initial values came first.
  probes.sort(key=lambda probe: (probe != "reinit", probe))
  rise = {(r["group"], r["probe"]): r["delta"] for r in rows}
  grid = [[rise[group, probe] for probe in probes] for group in groups]
  figure, axes = pyplot.subplots(
    figsize=(3 + 0.6 * len(probes), 1.5 + 0.25 * len(groups))
  )
  image = axes.imshow(grid, aspect="auto", cmap="magma_r", vmin=0)
  axes.set_yticks(range(len(groups)), groups, fontsize=8)
  labels = [p.partition(":step_")[2].lstrip("0") or "0" for p in probes]
  axes.set_xticks(range(len(probes)), labels, fontsize=8)
  axes.set_xlabel("reset to its values after so many updates")
  figure.colorbar(image, label="rise in word error rate")
  _save(figure, path)


def _draw_churn(
  path: str, churns: Sequence[Row], resets: Sequence[Row]
) -> None:
  """Mean churn of each group against the rise in word error rate."""
  figure, axes = pyplot.subplots(figsize=(6, 4.5))
  for row in churns:
    rise = {
      r["group"]: r["delta"]
      for r in resets
      if r["run"] == row["reset_run"] and r["probe"] == "reinit"
    }
    found = row["agreement"]["mean"]
    if found["rho"] is None:
      continue
    axes.scatter(
      [row["mean"][name] for name in rise],
      list(rise.values()),
      s=18,
      alpha=0.8,
      label=f"{row['run']}: rho {found['rho']:.2f}"
      f" ({found['low']:.2f} to {found['high']:.2f})",
    )
  axes.set_xscale("log")
  axes.set_xlabel("churn of a group, mean over intervals")
  axes.set_ylabel("rise in word error rate when reset")
  axes.legend(fontsize=7, frameon=False)
  _save(figure, path)


def _draw_sizes(path: str, rows: Sequence[Row]) -> None:
  """Word error rate of unseen speakers against the client's size."""
  figure, panels = pyplot.subplots(1, len(_DOMAINS), figsize=(9, 4))
  federated = [r for r in rows if r["kind"] == "federated"]
  for domain, axes in zip(_DOMAINS, panels, strict=True):
    key = f"eval_{domain}_wer"
    for strategy, color in _COLORS.items():
      of_strategy = [
        r for r in federated if r["strategy"] == strategy and key in r["after"]
      ]
      axes.scatter(
        [r["client_params"] / r["server_params"] for r in of_strategy],
        [r["after"][key] for r in of_strategy],
        s=16,
        color=color,
      )
      sizes = sorted(
        {
          (r["fraction"], r["client_params"] / r["server_params"])
          for r in of_strategy
        }
      )
      axes.plot(
        [size for _, size in sizes],
        [mean_wer(rows, strategy, f, domain) for f, _ in sizes],
        color=color,
        marker="_",
        label=strategy,
      )
    axes.set_title(domain, loc="left", fontsize=10)
    axes.set_xlabel("a client's parameters, of the full model's")
    axes.set_ylabel("word error rate, unseen speakers")
  panels[0].legend(fontsize=8, frameon=False)
  _save(figure, path)


def _save(figure: pyplot.Figure, path: str) -> None:
  figure.tight_layout()
  with whole_file(path) as temporary:
    figure.savefig(temporary, dpi=130, format="png")
  pyplot.close(figure)

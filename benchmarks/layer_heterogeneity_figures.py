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
  resets = [r for r in rows if r["kind"] == "reset" and r["part"] == "group"]
  probed = {r["run"] for r in resets}
  churns = [
    r for r in rows if r["kind"] == "churn" and r["reset_run"] in probed
  ]
  by_preset: dict[str, dict[str, list[Row]]] = {}
  for row in (r for r in rows if r["kind"] == "central"):
    by_preset.setdefault(row["preset"], {})[row["run"]] = [
      r
      for r in resets
      if r["run"] == row["run"] and r["probe"].startswith("reinit")
    ]
  for preset, runs in by_preset.items():
    _draw_heat_maps(os.path.join(folder, f"layer_heat_map_{preset}.png"), runs)
  if churns:
    _draw_churn(os.path.join(folder, "layer_churn.png"), churns, resets)
  if any(r["kind"] == "federated" for r in rows):
    _draw_sizes(os.path.join(folder, "layer_sizes.png"), rows)


def _draw_heat_maps(path: str, runs: Mapping[str, Sequence[Row]]) -> None:
  """Rise in word error rate: group down, checkpoint reset to across.

  Args:
    path: of the figure.
    runs: rows by run, all of the same groups; a panel each.
  """
  groups = list(dict.fromkeys(r["group"] for of in runs.values() for r in of))
  columns = max(len({r["probe"] for r in of}) for of in runs.values())
  figure, panels = pyplot.subplots(
    1,
    len(runs),
    figsize=(2.6 + len(runs) * (0.9 + 0.35 * columns), 1.6 + 0.2 * len(groups)),
    sharey=True,
    squeeze=False,
    layout="constrained",
  )
  most = max(r["delta"] for of in runs.values() for r in of)
  for axes, (run, rows) in zip(panels[0], runs.items(), strict=True):
    rise = {(r["group"], r["probe"]): r["delta"] for r in rows}
    # In the order of time: the initial values came first.
    probes = sorted({r["probe"] for r in rows}, key=_steps_before)
    image = axes.imshow(
      [[rise[group, probe] for probe in probes] for group in groups],
      aspect="auto",
      cmap="magma_r",
      vmin=0,
      vmax=max(most, 1e-3),
    )
    axes.set_title(run, loc="left", fontsize=9)
    axes.set_yticks(range(len(groups)), groups, fontsize=8)
    axes.set_xticks(
      range(len(probes)), [_steps_before(p) for p in probes], fontsize=8
    )
    axes.tick_params(length=0)
  figure.supxlabel("reset to its values after so many updates", fontsize=9)
  figure.colorbar(image, ax=panels, label="rise in word error rate")
  _save(figure, path)


def _steps_before(probe: str) -> int:
  """Returns how many updates a probe's values had seen."""
  return int(probe.partition(":step_")[2] or 0)


def _draw_churn(
  path: str, churns: Sequence[Row], resets: Sequence[Row]
) -> None:
  """Mean churn of each group against the rise in word error rate."""
  figure, axes = pyplot.subplots(figsize=(7.5, 4.5), layout="constrained")
  for row in churns:
    rise = {
      r["group"]: r["delta"]
      for r in resets
      if r["run"] == row["reset_run"] and r["probe"] == "reinit"
    }
    found = row["agreement"]["mean"]
    rho = "all matter alike"
    if found["rho"] is not None:
      rho = (
        f"rho {found['rho']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
      )
    axes.scatter(
      [row["mean"][name] for name in rise],
      list(rise.values()),
      s=16,
      alpha=0.8,
      label=f"{row['run']}: {rho}",
    )
  axes.axhline(0, color="#333333", linewidth=0.6)
  axes.set_xscale("log")
  # Less than a decade has labels between, which are long.
  axes.tick_params(axis="x", which="both", labelsize=8, labelrotation=30)
  axes.set_xlabel("churn of a group, mean over intervals")
  axes.set_ylabel("rise in word error rate when reset")
  axes.legend(
    fontsize=7,
    frameon=False,
    loc="upper left",
    bbox_to_anchor=(1, 1),
    title="Spearman, 95% interval",
    title_fontsize=7,
  )
  _save(figure, path)


def _draw_sizes(path: str, rows: Sequence[Row]) -> None:
  """Word error rate of unseen speakers against the client's size."""
  figure, panels = pyplot.subplots(
    1, len(_DOMAINS), figsize=(9.5, 4), layout="constrained"
  )
  federated = [r for r in rows if r["kind"] == "federated"]
  for domain, axes in zip(_DOMAINS, panels, strict=True):
    key = f"eval_{domain}_wer"
    of_domain = [r for r in federated if key in r["after"]]
    for place, (strategy, color) in enumerate(_COLORS.items()):
      # Side by side, so that none hides another.
      aside = 0.006 * (place - 2) if strategy != "full" else 0.0
      of_strategy = [r for r in of_domain if r["strategy"] == strategy]
      if not of_strategy:
        continue
      axes.scatter(
        [r["client_params"] / r["server_params"] + aside for r in of_strategy],
        [r["after"][key] for r in of_strategy],
        s=14,
        alpha=0.6,
        color=color,
      )
      # All lines end at the full model.
      ends = {
        (r["strategy"], r["fraction"]): r["client_params"] / r["server_params"]
        for r in of_domain
        if r["strategy"] in (strategy, "full")
      }
      points = sorted(
        (size, mean_wer(rows, *arm, domain)) for arm, size in ends.items()
      )
      axes.plot(
        [size for size, _ in points],
        [rate for _, rate in points],
        color=color,
        linewidth=1.2,
        marker="o" if strategy == "full" else None,
        label=strategy,
      )
    before = {r["before"][key] for r in of_domain}
    axes.set_title(
      f"{domain} (before: {max(before, default=0):.3f})",
      loc="left",
      fontsize=10,
    )
    axes.set_xlim(0, 1.05)
    axes.set_xlabel("a client's parameters, of the full model's")
    axes.spines[["top", "right"]].set_visible(False)
  panels[0].set_ylabel("word error rate, unseen speakers (synthetic)")
  panels[0].legend(fontsize=8, frameon=False)
  _save(figure, path)


def _save(figure: pyplot.Figure, path: str) -> None:
  with whole_file(path) as temporary:
    figure.savefig(temporary, dpi=130, format="png")
  pyplot.close(figure)

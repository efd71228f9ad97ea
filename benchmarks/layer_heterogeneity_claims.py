"""Rows of the layer study, and the claims that they bear."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.result_file import Claim
from fl.importance.agreement import kendall_tau, overlap_at

Row = dict[str, Any]

_OVERLAP_AT = 4


def reset_rows(run: str, importance: Mapping[str, Any]) -> Iterator[Row]:
  """Makes rows of all the probes of an `importance.json`."""
  for name in ("rows", "checkpoint_rows", "rerand_rows", "joint_rows"):
    for row in importance.get(name, ()):
      yield {**row, "kind": "reset", "run": run, "part": row["kind"]}


def churn_row(run: str, churn: Mapping[str, Any]) -> Row:
  """Makes a row of a `churn.json`."""
  return {
    "kind": "churn",
    "run": run,
    "mean": churn["mean"],
    "agreement": churn["agreement"],
  }


def agreement_row(
  one: str,
  other: str,
  importances: Mapping[str, Mapping[str, Any]],
) -> Row:
  """Compares the rankings of two runs, by name in `importances`.

  Where one model has more blocks than the other, its groups are averaged over
  the blocks at the same relative depth.
  """
  first, second = (_deltas(importances[name]) for name in (one, other))
  blocks = min(_blocks(first), _blocks(second))
  first, second = _at_depth(first, blocks), _at_depth(second, blocks)
  return {
    "kind": "agreement",
    "runs": [one, other],
    "kendall_tau": kendall_tau(first, second),
    f"overlap_at_{_OVERLAP_AT}": overlap_at(_OVERLAP_AT, first, second),
  }


def claims_of(rows: Sequence[Row]) -> list[Claim]:
  """Computes every claim of the study; what has no rows yet has no value."""
  rounds = {r["plan"]: r for r in rows if r["kind"] == "client_round"}
  found = [
    Claim(
      "largest difference between a client's bytes as counted and as planned",
      max(map(_byte_error, rounds.values()), default=None),
      "<= 0",
    )
  ]
  for fraction, target in ((0.5, 0.65), (0.25, 0.45)):
    ratio = None
    if f"ranked_{fraction}" in rounds and "full" in rounds:
      ratio = (
        rounds[f"ranked_{fraction}"]["cpu_seconds"]
        / rounds["full"]["cpu_seconds"]
      )
    found.append(
      Claim(
        f"client compute time at {fraction} of the parameters, of a whole"
        " model's",
        ratio,
        f"<= {target}",
      )
    )
  for domain in ("general", "commands"):
    full = mean_wer(rows, "full", 1.0, domain)
    ranked = mean_wer(rows, "ranked", 0.5, domain)
    uniform = mean_wer(rows, "uniform", 0.5, domain)
    found += [
      Claim(
        f"relative rise in WER on {domain} of unseen speakers, ranked at 0.5"
        " against full federated averaging",
        (ranked - full) / full if ranked is not None and full else None,
        "<= 0.05",
      ),
      Claim(
        f"WER on {domain} of unseen speakers, ranked less uniform at 0.5",
        ranked - uniform
        if ranked is not None and uniform is not None
        else None,
        "<= 0",
      ),
    ]
  return found


def mean_wer(
  rows: Sequence[Row], strategy: str, fraction: float, domain: str
) -> float | None:
  """Averages a plan's word error rate over its seeds; None: no runs."""
  rates = [
    row["after"][f"eval_{domain}_wer"]
    for row in rows
    if row["kind"] == "federated"
    and (row["strategy"], row["fraction"]) == (strategy, fraction)
    and f"eval_{domain}_wer" in row["after"]
  ]
  return statistics.mean(rates) if rates else None


def _byte_error(row: Row) -> float:
  """Returns by how much any client's bytes differ from the plan's."""
  return float(
    max(
      abs(size - row[f"predicted_{way}_bytes"])
      for way in ("download", "upload")
      for size in row[f"{way}_bytes"]
    )
  )


def _deltas(importance: Mapping[str, Any]) -> dict[str, float]:
  return {
    row["group"]: row["delta"]
    for row in importance["rows"]
    if row["kind"] == "group"
  }


def _blocks(deltas: Mapping[str, float]) -> int:
  return len({name.split("/")[0] for name in deltas})


def _at_depth(deltas: Mapping[str, float], blocks: int) -> dict[str, float]:
  """Averages groups over blocks at the same of `blocks` relative depths."""
  own = sorted({name.split("/")[0] for name in deltas})
  gathered: dict[str, list[float]] = {}
  for name, delta in deltas.items():
    block, _, module = name.partition("/")
    depth = own.index(block) * blocks // len(own)
    gathered.setdefault(f"{depth}/{module}", []).append(delta)
  return {name: statistics.mean(values) for name, values in gathered.items()}

"""Rows of the layer study, and the claims that they bear."""

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.layer_heterogeneity_study import BASE, CentralRun
from benchmarks.result_file import Claim
from fl.importance.agreement import kendall_tau, overlap_at

Row = dict[str, Any]

_OVERLAP_AT = 4
_PART_OF_KIND = {
  "identity": "identities",
  "client_round": "client_rounds",
  "federated": "federated",
  "variant": "variants",
  "cut": "cuts",
}


def part_of(row: Mapping[str, Any]) -> str:
  """Returns the part of the study that a row is of, as `--parts` names it."""
  if row["kind"] in _PART_OF_KIND:
    return _PART_OF_KIND[row["kind"]]
  if row["kind"] == "churn" and row["run"] == "federated":
    return "federated"
  runs = row.get("runs", [row.get("run")])
  return "probes" if set(runs) == {BASE} else "central"


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


def probe_agreement_row(run: str, importance: Mapping[str, Any]) -> Row:
  """Compares a run's rankings by resets to initial values and to fresh draws.

  Args:
    run: its name.
    importance: its `importance.json`.
  """
  return {
    "kind": "agreement",
    "over": "probe",
    "measure": "reset",
    "runs": [run, run],
    **_agreement(
      _deltas(importance["rows"]), _deltas(importance["rerand_rows"])
    ),
  }


def agreement_rows(
  found: Mapping[CentralRun, Mapping[str, Any]],
) -> Iterator[Row]:
  """Compares the rankings of runs that differ in one thing.

  Both by what a reset costs and by churn. Where one model has more blocks than
  the other, its groups are averaged over the blocks at the same relative depth.

  Args:
    found: `importance` and `churn`, the values of these files, by run.
  """
  for one, other in itertools.combinations(found, 2):
    over = [
      what
      for what in ("seed", "norm", "preset")
      if getattr(one, what) != getattr(other, what)
    ]
    if len(over) != 1:
      continue
    resets = [_deltas(found[run]["importance"]["rows"]) for run in (one, other)]
    churns = [
      {name: found[run]["churn"]["mean"][name] for name in deltas}
      for run, deltas in zip((one, other), resets, strict=True)
    ]
    for measure, (first, second) in (("reset", resets), ("churn", churns)):
      yield {
        "kind": "agreement",
        "over": over[0],
        "measure": measure,
        "runs": [one.name, other.name],
        **_agreement(first, second),
      }


def claims_of(rows: Sequence[Row]) -> list[Claim]:
  """Computes every claim of the study; what has no rows yet has no value."""
  rounds = {
    (r["strategy"], r["fraction"]): r
    for r in rows
    if r["kind"] == "client_round"
  }
  found = [
    Claim(
      "largest difference between a client's bytes as counted and as planned",
      max(map(_byte_error, rounds.values()), default=None),
      "<= 0",
    )
  ]
  for identity in (
    "extract, then scatter",
    "keep rate 1 is federated averaging",
    "a round worked out by hand",
  ):
    differences = [
      row["largest_difference"]
      for row in rows
      if row["kind"] == "identity" and row["identity"] == identity
    ]
    found.append(
      Claim(
        f"{identity}: largest difference",
        max(differences, default=None),
        "<= 0",
      )
    )
  for fraction, target in ((0.5, 0.65), (0.25, 0.45)):
    part = rounds.get(("ranked", fraction))
    found.append(
      Claim(
        f"client compute time at {fraction} of the parameters, of a whole"
        " model's",
        part["cpu_seconds_of_first"] if part else None,
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


def _agreement(one: Mapping[str, float], other: Mapping[str, float]) -> Row:
  blocks = min(_blocks(one), _blocks(other))
  first, second = _at_depth(one, blocks), _at_depth(other, blocks)
  return {
    "kendall_tau": kendall_tau(first, second),
    f"overlap_at_{_OVERLAP_AT}": overlap_at(_OVERLAP_AT, first, second),
  }


def _deltas(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  return {row["group"]: row["delta"] for row in rows if row["kind"] == "group"}


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

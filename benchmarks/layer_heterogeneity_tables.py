"""The rows of the layer study as tables for a document."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.result_file import markdown_table

Row = dict[str, Any]

_DOMAINS = ("commands", "general")


def study_tables(rows: Sequence[Row]) -> str:
  """Returns Markdown: a table of each kind of row that there is.

  Args:
    rows: of `layer_heterogeneity_main`.
  """
  tables = (
    _client_rounds([r for r in rows if r["kind"] == "client_round"]),
    _federated([r for r in rows if r["kind"] == "federated"]),
    _variants([r for r in rows if r["kind"] == "variant"]),
    _cuts([r for r in rows if r["kind"] == "cut"]),
    _central([r for r in rows if r["kind"] == "central"]),
    _agreement([r for r in rows if r["kind"] == "agreement"]),
    _churn([r for r in rows if r["kind"] == "churn"]),
  )
  return "\n".join(table for table in tables if table)


def _client_rounds(rows: Sequence[Row]) -> str:
  return _table(
    (
      "plan",
      "parameters",
      "bytes down",
      "bytes up",
      "processor time, s",
      "of a whole model's",
      "time of day, of a whole model's",
    ),
    (
      [
        _plan(row),
        f"{row['client_params']:,}",
        _range(row["download_bytes"]),
        _range(row["upload_bytes"]),
        f"{row['cpu_seconds']:.2f}",
        f"{row['cpu_seconds_of_first']:.3f}",
        f"{row['seconds_of_first']:.3f}",
      ]
      for row in rows
    ),
  )


def _federated(rows: Sequence[Row]) -> str:
  runs: dict[str, list[Row]] = {}
  for row in rows:
    runs.setdefault(_plan(row), []).append(row)
  return _table(
    (
      "plan",
      "seeds",
      "WER of commands, mean",
      "each",
      "WER of general sentences, mean",
      "each",
    ),
    (
      [plan, str(len(of_plan)), *_means(of_plan)]
      for plan, of_plan in runs.items()
    ),
  )


def _variants(rows: Sequence[Row]) -> str:
  return _table(
    ("plan", "changed", "WER of commands", "WER of general sentences"),
    (
      [
        _plan(row),
        ", ".join(f"`--{f}={v}`" for f, v in row["changed"].items()),
        *(f"{rate:.3f}" for rate in _rates(row)),
      ]
      for row in rows
    ),
  )


def _cuts(rows: Sequence[Row]) -> str:
  return _table(
    (
      "cut out of",
      "parameters, of the whole",
      "bytes",
      "WER of commands",
      "WER of general sentences",
      "latency ms",
    ),
    (
      [
        row["units"],
        f"{row['params'] / row['full_params']:.3f}",
        f"{row['bytes']:,}",
        f"{row['wer_commands']:.3f}",
        f"{row['wer_general']:.3f}",
        f"{row['latency_ms']:.1f}",
      ]
      for row in rows
    ),
  )


def _central(rows: Sequence[Row]) -> str:
  return _table(
    ("run", "held-out WER"),
    ([row["run"], f"{row['held_out_wer']:.3f}"] for row in rows),
  )


def _agreement(rows: Sequence[Row]) -> str:
  return _table(
    (
      "runs that differ in",
      "by",
      "runs",
      "Kendall's tau",
      "of the least important four, common",
    ),
    (
      [
        row["over"],
        row["measure"],
        ", ".join(dict.fromkeys(row["runs"])),
        # Where all matter alike, there is no order to agree on.
        "" if row["kendall_tau"] is None else f"{row['kendall_tau']:.2f}",
        f"{row['overlap_at_4']:.2f}",
      ]
      for row in rows
    ),
  )


def _churn(rows: Sequence[Row]) -> str:
  lines = []
  for row in rows:
    cells = []
    for measure in ("mean", "distance"):
      found = row["agreement"].get(measure)
      if found is None:
        cells.append("")
      elif found["rho"] is None:
        cells.append("all matter alike")
      else:
        cells.append(
          f"{found['rho']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
        )
    lines.append([row["run"], *cells])
  return _table(
    (
      "run",
      "churn: Spearman with the rise in WER, 95%",
      "distance from the beginning: the same",
    ),
    lines,
  )


def _plan(row: Row) -> str:
  return row["strategy"] + (
    "" if row["fraction"] == 1.0 else f" {row['fraction']}"
  )


def _rates(row: Row) -> list[float]:
  return [row["after"][f"eval_{domain}_wer"] for domain in _DOMAINS]


def _means(rows: Sequence[Row]) -> list[str]:
  cells = []
  for rates in zip(*map(_rates, rows), strict=True):
    each = ", ".join(f"{rate:.3f}" for rate in rates)
    cells += [f"{statistics.mean(rates):.3f}", each]
  return cells


def _range(sizes: Sequence[int]) -> str:
  return " to ".join(f"{size:,}" for size in sorted({min(sizes), max(sizes)}))


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
  """Returns a table, or nothing when there are no lines yet."""
  body = list(lines)
  return markdown_table(heads, body) if body else ""

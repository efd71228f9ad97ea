"""The USM-Lite ablation as tables for a document."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.usm_lite_claims import difference_interval
from benchmarks.usm_lite_ladder import ladder_name


def usm_lite_tables(rows: Sequence[Mapping[str, Any]]) -> str:
  """Returns the tables of docs/compression.md.

  Args:
    rows: of `usm_lite_main`; those of the step's overhead are passed over.
  """
  lines = [
    "| recipe | WER | 95% interval | of float32's WER | stored | transport |"
    " memory MB | latency ms | RTF |",
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
  ]
  for row in rows:
    if row["kind"] != "ladder":
      continue
    low, high = row["wer_interval"]
    change = row.get("wer_regression")
    lines.append(
      f"| {row['recipe']} | {row['wer']:.4f} | {low:.3f} to {high:.3f} |"
      f" {'' if change is None else f'{100 * change:+.1f}%'} |"
      f" {100 * row['bytes_vs_float32_file']:.1f}% |"
      f" {100 * row['transport_bytes_vs_float32_file']:.2f}% |"
      f" {row['peak_rss_bytes'] / 1e6:.0f} | {row['latency_ms']:.2f} |"
      f" {row['rtf']:.4f} |"
    )
  for row in rows:
    lines += [
      f"\n{row['recipe']} is {worse}."
      for worse in row.get("worse_than_replaced", [])
    ]
  lines += _bytes_table(rows)
  lines += _against_control(rows)
  static = [row for row in rows if row["kind"] == "static"]
  if static:
    lines += [
      "",
      "| static activations | WER | 95% interval | bytes | transport | error,"
      " of the logits' spread | latency ms | of the dynamic file's |",
      "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
  for row in static:
    low, high = row["wer_interval"]
    lines.append(
      f"| {row['recipe']} | {row['wer']:.4f} | {low:.3f} to {high:.3f} |"
      f" {row['bytes']:,} | {row['transport_bytes']:,} |"
      f" {row['relative_error_vs_keras']:.4f} | {row['latency_ms']:.2f} |"
      f" {row['latency_of_dynamic']:.2f} |"
    )
  chosen = sorted(
    (row for row in rows if row["kind"] == "choice"),
    key=lambda row: row["recipe"],
  )
  if chosen:
    lines += [
      "",
      "| recipe: change | held-out WER | last loss | mask updates | churn |",
      "|---|--:|--:|--:|---|",
    ]
  for row in chosen:
    churn = ", ".join(f"{each:.3f}" for each in row["mask_churn"])
    lines.append(
      f"| {row['recipe']} | {row['held_out_wer']:.4f} |"
      f" {row['last_loss']:.4f} | {row['mask_updates']} | {churn} |"
    )
  lines += [
    "",
    "| grid | LiteRT | error, of the logits' spread | latency, of float32's |",
    "|---|---|--:|--:|",
  ]
  for row in rows:
    if row["kind"] != "grid":
      continue
    figures = " | |"
    if row["refusal"] is None:
      figures = (
        f" {row['relative_error']:.4f} | {row['latency_of_float32']:.2f} |"
      )
    lines.append(f"| {row['grid']} | {row['refusal'] or 'runs'} |{figures}")
  return "\n".join(lines)


def _against_control(rows: Sequence[Mapping[str, Any]]) -> list[str]:
  """Returns what the dense model is when it is trained on, and the pruned."""
  control = next((row for row in rows if row["kind"] == "control"), None)
  if control is None:
    return []
  low, high = control["wer_interval"]
  lines = [
    "",
    f"{control['recipe']}, {control['fine_tune_steps']} more updates of the"
    f" dense model: {sum(control['edits'])} errors, WER {control['wer']:.4f}"
    f" ({low:.3f} to {high:.3f}). What is pruned less that, in points:",
    "",
  ]
  pruned = [ladder_name(bits, (2, 4), True) for bits in (None, 8, 4)]
  for row in rows:
    if row["kind"] == "ladder" and row["recipe"] in pruned:
      low, high = (100 * end for end in difference_interval(row, control))
      lines.append(
        f"- {row['recipe']}, {sum(row['edits'])} errors: {low:+.1f} to"
        f" {high:+.1f}"
      )
  return lines


def _bytes_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
  """Returns what the bytes of each file are spent on."""
  ladder_rows = [row for row in rows if row["kind"] == "ladder"]
  kinds = list(ladder_rows[0]["bytes_by_kind"])
  lines = [
    "",
    f"| recipe, bytes | {' | '.join(k.replace('_', ' ') for k in kinds)} |",
    "|---" + "|--:" * len(kinds) + "|",
  ]
  for row in ladder_rows:
    cells = [f"{row['bytes_by_kind'][kind]:,}" for kind in kinds]
    lines.append(f"| {row['recipe']} | {' | '.join(cells)} |")
  return lines

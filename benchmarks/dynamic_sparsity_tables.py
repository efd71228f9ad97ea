"""The tables of docs/dynamic_sparsity.md."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.dynamic_sparsity_cells import DYNAMIC, PRUNED, SINGLE
from benchmarks.dynamic_sparsity_claims import (
  difference_interval,
  mean_wer,
  wer_interval,
)
from benchmarks.result_file import markdown_table
from lingvo_lite.dynamic_sparsity.levels import SparsityLevels, level_name

Row = Mapping[str, Any]


def wer_table(rows: Sequence[Row], levels: SparsityLevels) -> str:
  """Returns each method's WER and the differences, all with 95% intervals."""
  lines = []
  for sparsity in levels.sparsities:
    level = level_name(sparsity)
    line = [level]
    for method in (DYNAMIC, SINGLE, PRUNED):
      mean, ends = (
        mean_wer(rows, method, level),
        wer_interval(rows, method, level),
      )
      line.append(
        "not measured"
        if mean is None or ends is None
        else f"{mean:.4f} ({ends[0]:.4f} to {ends[1]:.4f})"
      )
    for other in (SINGLE, PRUNED):
      ends = difference_interval(rows, level, other)
      line.append(
        "not measured" if ends is None else f"{ends[0]:+.4f} to {ends[1]:+.4f}"
      )
    lines.append(line)
  return markdown_table(
    (
      "level",
      "one set of weights, WER",
      "a network a level, WER",
      "pruned, not trained, WER",
      "first less second, 95% interval",
      "first less third, 95% interval",
    ),
    lines,
  )


def file_table(rows: Sequence[Row]) -> str:
  """Returns what the files cost, and what the file of all levels does."""
  files = [row for row in rows if row["kind"] == "file"]
  table = markdown_table(
    (
      "level",
      "WER on LiteRT",
      "bytes",
      "of dense int8",
      "latency ms",
      "memory MB",
      "off Keras",
      "block-sparse matrices",
      "against the next denser",
    ),
    [
      [
        row["level"],
        f"{row['wer_on_litert']:.4f}",
        str(row["bytes"]),
        f"{row['bytes'] / files[0]['bytes']:.3f}",
        f"{row['latency_ms']:.2f}",
        f"{row['peak_rss_bytes'] / 1e6:.0f}",
        f"{row['parity']['relative_error']:.4f}",
        str(row["kernels"]["block_sparse"]),
        row["verdict"],
      ]
      for row in files
    ],
  )
  whole = next(row for row in rows if row["kind"] == "whole")
  one_level = max(whole["whole_file_rss_bytes"].values())
  return (
    f"{table}\nAll levels in one file: {whole['bytes']} bytes,"
    f" {whole['bytes_of_separate_files']:.3f} of the separate files;"
    f" {whole['shared_bytes']} bytes are shared. A switch takes"
    f" {whole['switch_ms_median']:.4f} ms (median;"
    f" {whole['switch_ms_largest']:.4f} at most). Loaded whole, it takes"
    f" {one_level / 1e6:.0f} MB with one level in use and"
    f" {whole['whole_file_rss_bytes_all_levels'] / 1e6:.0f} MB with all, and"
    f" the utterance after a switch {whole['whole_file_switch_ms']:+.3f} ms.\n"
  )


def kernel_table(rows: Sequence[Row]) -> str:
  """Returns the times of stacks of matrices by width; nothing is claimed."""
  return markdown_table(
    (
      "width d of pairs d x 4d, 4d x d",
      "dense int8 ms",
      "80% block-sparse int8 ms",
      "ratio",
    ),
    [
      [
        str(row["width"]),
        f"{row['dense_ms']:.3f}",
        f"{row['block_sparse_ms']:.3f}",
        f"{row['ratio']:.2f}",
      ]
      for row in rows
      if row["kind"] == "kernel"
    ],
  )

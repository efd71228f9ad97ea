"""The rows of streaming on the device as tables for a document."""

from collections.abc import Sequence
from typing import Any

from benchmarks.edge_rows import HELD_OUT
from benchmarks.result_file import markdown_table

Row = dict[str, Any]

_STREAMING = (
  "model, threads",
  "MB",
  "WER, % [95%]",
  "RTF",
  "RTF, processor",
  "chunk, ms",
  "95%",
  "first word, ms",
  "last, ms",
  "cold start, ms",
  "processor",
  "process, ms",
  "processor",
  "peak, MB",
)
_BY_SPEECH = {
  "general": "like the training's",
  "commands": "commands",
  HELD_OUT: "held out, known speakers",
}


def edge_tables(rows: Sequence[Row]) -> str:
  """Returns Markdown: models that stream, errors by speech, and others.

  Args:
    rows: of `edge_main`.
  """
  streaming = [
    (
      f"{row['recipe']}, {row['threads']}",
      f"{row['bytes'] / 1e6:.2f}",
      _errors(row),
      f"{row['rtf']:.4f}",
      f"{row['cpu_rtf']:.4f}",
      f"{row['chunk_ms']:.2f}",
      f"{row['chunk_ms_p95']:.2f}",
      f"{row['first_word_ms']:.0f}",
      f"{row['final_ms']:.1f}",
      f"{row['cold_start_ms']:.0f}",
      f"{row['cold_start_cpu_ms']:.0f}",
      f"{row['process_ms']:.0f}",
      f"{row['process_cpu_ms']:.0f}",
      f"{row['peak_rss_bytes'] / 1e6:.0f}",
    )
    for row in rows
    if row["kind"] == "streaming"
  ]
  others = []
  for row in rows:
    if row["kind"] == "skipped":
      others.append((row["system"], "", f"left out: {row['reason']}"))
    elif row["kind"] == "full_context":
      size = f"{row['bytes'] / 1e6:.2f} MB"
      others.append((f"{row['recipe']}, whole", _errors(row), size))
    elif row["kind"] == "pocketsphinx":
      others.append(
        (
          f"PocketSphinx {row['version']}, {row['utterances']} utterances",
          _errors(row),
          f"RTF {row['cpu_rtf']:.3f}, float32 here {row['our_cpu_rtf']:.4f}",
        )
      )
    elif row["kind"] == "tensorflowasr":
      ours = ", ".join(
        f"{recipe} here {ms:.1f}" for recipe, ms in row["our_cpu_ms"].items()
      )
      others.append(
        (
          f"TensorFlowASR {row['version']}, {row['utterances']} utterances",
          "",
          f"{row['cpu_ms']:.1f} ms an utterance, {ours};"
          f" {row['bytes'] / 1e6:.2f} MB",
        )
      )
  return "\n".join(
    (
      markdown_table(_STREAMING, streaming),
      _by_speech(rows),
      markdown_table(
        ("compared with", "WER, % [95%]", "processor time, size"), others
      ),
    )
  )


def _by_speech(rows: Sequence[Row]) -> str:
  lines = [
    (
      f"{row['recipe']}, {mode}",
      *(
        _errors(row["by_speech"][kind]) if kind in row["by_speech"] else ""
        for kind in _BY_SPEECH
      ),
    )
    for kind_of_row, mode in (
      ("streaming", "streaming"),
      ("full_context", "whole"),
    )
    for row in rows
    if row["kind"] == kind_of_row and row.get("threads", 1) == 1
  ]
  heads = [f"WER, % [95%]: {words}" for words in _BY_SPEECH.values()]
  return markdown_table(("model", *heads), lines)


def _errors(row: Row) -> str:
  low, high = row["wer_interval"]
  return f"{100 * row['wer']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"

"""Shows the report's models as a table of plain text, Markdown as it is."""

from collections.abc import Mapping
from typing import Any

from pipeline.report_html import measured_domains


def models_table(report: Mapping[str, Any]) -> str:
  """Returns the `models` of a report as a Markdown table, aligned.

  Below it is said which file is larger or slower than the one it replaces.

  Args:
    report: as `report.build_report` returns it.
  """
  models = report["models"]
  domains = measured_domains(models)
  rows = [
    [
      "recipe",
      "bytes",
      "of float32",
      "gzip, of float32",
      "transport, of float32",
      "WER",
      *(f"WER {name}" for name in domains),
      "CER",
      "latency ms",
      "RTF",
      "memory MB",
    ]
  ]
  for model in models:
    rows.append(
      [
        model["recipe"],
        f"{model['bytes']:,}",
        f"{model['bytes_vs_float32']:.3f}",
        f"{model['gzip_bytes_vs_float32']:.3f}",
        f"{model['transport_bytes_vs_float32']:.3f}",
        f"{model['wer']:.3f}",
        *(f"{model[f'wer_{name}']:.3f}" for name in domains),
        f"{model['cer']:.3f}",
        f"{model['latency_ms']:.1f}",
        f"{model['rtf']:.4f}",
        f"{model['peak_rss_bytes'] / 1e6:.0f}",
      ]
    )
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  rules = ["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]]
  lines = []
  for row in [rows[0], rules, *rows[1:]]:
    cells = [row[0].ljust(widths[0])]
    cells += [
      cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)
    ]
    lines.append(f"| {' | '.join(cells)} |")
  for model in models:
    for worse in model["worse_than_replaced"]:
      lines.append(f"\n{model['recipe']} is {worse}.")
  return "\n".join(lines)

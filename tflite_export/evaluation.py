"""The rows of `models` in report.json: every figure of every file."""

import os
from collections.abc import Sequence
from typing import Any

from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import read_json
from tflite_export.accuracy import accuracy_by_domain, transcribe_all
from tflite_export.cost import measure_speed
from tflite_export.dense_comparison import add_comparisons
from tflite_export.file_bytes import bytes_by_kind, flex_operations, gzip_bytes
from tflite_export.interpreter import Recognizer
from tflite_export.peak_memory import peak_rss_bytes
from tflite_export.speech import SpokenUtterance

_BASELINE = "float32"


def evaluate(
  paths: Sequence[str], spoken: Sequence[SpokenUtterance]
) -> list[dict[str, Any]]:
  """Measures .tflite files on the same speech.

  Args:
    paths: the files; `export.json` of the exporter lies beside each.
    spoken: speech of speakers heard in no training stage.

  Returns:
    A row a file. Shares of float32's bytes are null where no file is float32;
    `worse_than_replaced` says in words where a file is larger or slower than
    the dense one that it replaces.

  Raises:
    InputError: a file is damaged or its export.json is missing.
  """
  # Everything that can be wrong with the files, before time is spent.
  fields = [Recognizer(path).description["recipe"] for path in paths]
  recipes = [recipe["name"] for recipe in fields]
  exports = [_read_export(path) for path in paths]
  contents = [_read_bytes(path) for path in paths]
  baseline = next(
    (
      len(whole)
      for name, whole in zip(recipes, contents, strict=True)
      if name == _BASELINE
    ),
    None,
  )
  speeds = measure_speed(paths, spoken)
  workers = len(os.sched_getaffinity(0))
  rows = []
  for index, path in enumerate(paths):
    texts = transcribe_all(path, spoken, workers, recipes[index])
    size = len(contents[index])
    zipped = gzip_bytes(contents[index])
    row = {
      "recipe": recipes[index],
      "file": os.path.basename(path),
      "bytes": size,
      "gzip_bytes": zipped,
      "transport_bytes": exports[index]["transport_bytes"],
      "bytes_vs_float32": _share(size, baseline),
      "gzip_bytes_vs_float32": _share(zipped, baseline),
      "transport_bytes_vs_float32": _share(
        exports[index]["transport_bytes"], baseline
      ),
      "rtf": round(speeds[index].rtf, 5),
      "latency_ms": round(speeds[index].latency_ms, 3),
      "latency_utterance_s": round(speeds[index].utterance_s, 3),
      "peak_rss_bytes": peak_rss_bytes(path),
      "flex_ops": flex_operations(contents[index]),
      "max_abs_logit_diff_vs_keras": exports[index]["parity"][
        "max_abs_logit_diff"
      ],
      "bytes_by_kind": bytes_by_kind(contents[index]),
    }
    for domain, found in accuracy_by_domain(spoken, texts).items():
      suffix = "" if domain == "all" else f"_{domain}"
      row[f"wer{suffix}"] = round(found.wer, 5)
      row[f"cer{suffix}"] = round(found.cer, 5)
      row[f"wer{suffix}_interval"] = [round(x, 5) for x in found.wer_interval]
      row[f"words{suffix}"] = found.words
    rows.append(row)
  add_comparisons(rows, fields, speeds)
  return rows


def _read_export(path: str) -> dict[str, Any]:
  report = os.path.join(os.path.dirname(path), "export.json")
  return read_json(report, "what the exporter measured (export.json)")


def _read_bytes(path: str) -> bytes:
  try:
    with open(path, "rb") as file:
      return file.read()
  except OSError as error:
    raise InputError(
      f"found {path} unreadable ({error.strerror}), expected a .tflite file:"
      " check the path"
    ) from error


def _share(size: int, baseline: int | None) -> float | None:
  return None if baseline is None else round(size / baseline, 5)

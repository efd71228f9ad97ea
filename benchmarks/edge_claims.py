"""What streaming on the device is to reach, from the rows of its benchmark."""

from collections.abc import Sequence
from typing import Any

from benchmarks.result_file import Claim

Row = dict[str, Any]


def edge_claims(rows: Sequence[Row]) -> list[Claim]:
  """Computes the claims.

  Args:
    rows: of `edge_main`; `kind` is `streaming`, `full_context`,
      `pocketsphinx` or `tensorflowasr`; others are passed over.
  """
  streaming = {
    row["recipe"]: row
    for row in rows
    if row["kind"] == "streaming" and row["threads"] == 1
  }
  float32 = streaming.get("float32")
  offline = next(
    (
      row
      for row in rows
      if row["kind"] == "full_context" and row["recipe"] == "float32"
    ),
    None,
  )
  sphinx = _first(rows, "pocketsphinx")
  theirs = _first(rows, "tensorflowasr")

  def above_float32(recipe: str) -> float | None:
    if float32 is None or recipe not in streaming:
      return None
    return _rounded(streaming[recipe]["wer"] - float32["wer"])

  return [
    Claim(
      "real-time factor, float32, streaming, one thread",
      _figure(float32, "rtf"),
      "<= 0.05",
    ),
    Claim(
      "word error rate of int8 above float32's, both streaming",
      above_float32("int8"),
      "<= 0.01",
    ),
    Claim(
      "word error rate of int4 above float32's, both streaming",
      above_float32("int4"),
      "<= 0.01",
    ),
    Claim(
      "word error rate of float32 streaming over that of the same weights with"
      " full context",
      _ratio(float32, offline, "wer"),
      "<= 1.15",
    ),
    Claim(
      "the same, of sentences like those that the training heard",
      _ratio(_general(float32), _general(offline), "wer"),
      "<= 1.15",
    ),
    Claim(
      "milliseconds from opening the float32 file to the first result, fresh"
      " process, imports not counted",
      _figure(float32, "cold_start_ms"),
      "<= 150",
    ),
    Claim(
      "milliseconds from opening the int8 file to the first result, fresh"
      " process, imports not counted",
      _figure(streaming.get("int8"), "cold_start_ms"),
      "<= 150",
    ),
    Claim(
      "milliseconds of processor time of float32 in that, which is what an idle"
      " machine would take",
      _figure(float32, "cold_start_cpu_ms"),
      "<= 150",
    ),
    *(
      Claim(
        f"milliseconds from starting Python to the first result of {recipe},"
        f" imports and all{of}",
        _figure(streaming.get(recipe), figure),
        "<= 150",
      )
      for recipe in ("float32", "int8")
      for figure, of in (
        ("process_ms", ""),
        ("process_cpu_ms", ", of processor time"),
      )
    ),
    Claim(
      "milliseconds of processor time to import the recogniser, with NumPy and"
      " LiteRT",
      _figure(float32, "import_cpu_ms"),
      "<= 100",
    ),
    Claim(
      "times faster than PocketSphinx, float32 streaming, one thread, processor"
      " time",
      None
      if sphinx is None
      else _rounded(sphinx["cpu_rtf"] / sphinx["our_cpu_rtf"]),
      ">= 5",
    ),
    *(
      Claim(
        f"processor time of {recipe} from samples to labels over that of"
        " TensorFlowASR's default export of the same shape, float32, whole"
        " utterances, one thread",
        None
        if theirs is None or recipe not in theirs["our_cpu_ms"]
        else _rounded(theirs["our_cpu_ms"][recipe] / theirs["cpu_ms"]),
        "<= 0.5",
      )
      for recipe in ("float32", "int8")
    ),
  ]


def _first(rows: Sequence[Row], kind: str) -> Row | None:
  return next((row for row in rows if row["kind"] == kind), None)


def _general(row: Row | None) -> Row | None:
  return None if row is None else row["by_speech"].get("general")


def _figure(row: Row | None, name: str) -> float | None:
  return None if row is None else row[name]


def _ratio(one: Row | None, other: Row | None, name: str) -> float | None:
  if one is None or other is None or not other[name]:
    return None
  return _rounded(one[name] / other[name])


def _rounded(value: float) -> float:
  return round(value, 5)

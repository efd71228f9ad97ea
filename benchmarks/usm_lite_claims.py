"""What the USM-Lite ablation claims, computed from its rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.result_file import Claim
from benchmarks.usm_lite_ladder import BASELINE, ladder_name

_RESAMPLES = 2000
_PAIRS = (
  ("int4", 4, None),
  ("int2", 2, None),
  ("2:4", None, (2, 4)),
  ("1:4", None, (1, 4)),
)

Row = Mapping[str, Any]


def claims(rows: Sequence[Row]) -> list[Claim]:
  """Returns every claim; a figure whose rows are missing has no value.

  Args:
    rows: of `usm_lite_main`, all kinds of them.
  """
  by_name = {row["recipe"]: row for row in rows if row["kind"] == "ladder"}
  base = by_name.get(BASELINE)
  small = by_name.get(ladder_name(4, (2, 4), True))
  int4 = by_name.get(ladder_name(4, None, True))
  static = next(
    (
      row
      for row in rows
      if row["kind"] == "static" and row["of"] == ladder_name(4, (2, 4), True)
    ),
    None,
  )
  control = next((row for row in rows if row["kind"] == "control"), None)

  def worse(row: Row | None, than: Row | None = base) -> float | None:
    """Returns the relative WER regression of a row."""
    share = _share(row, than, "wer")
    return None if share is None else share - 1

  found = [
    Claim(
      "int4 + 2:4, transport form of float32's file",
      _share(small, base, "transport_bytes", "bytes"),
      "<= 0.094",
    ),
    Claim(
      "the same, the aim",
      _share(small, base, "transport_bytes", "bytes"),
      "<= 0.085",
    ),
    Claim("int4 + 2:4, relative WER regression", worse(small), "<= 0.073"),
    Claim("the same, the aim", worse(small), "<= 0.03"),
    Claim(
      "int4 + 2:4, relative WER regression of float32 trained as long",
      worse(small, control),
      "<= 0.073",
    ),
    Claim(
      "int8, relative WER regression",
      worse(by_name.get(ladder_name(8, None, True))),
      "<= 0.01",
    ),
    Claim(
      "the same, only rounded",
      worse(by_name.get(ladder_name(8, None, False))),
      "<= 0.01",
    ),
    Claim("int4 dense, relative WER regression", worse(int4), "<= 0.03"),
    Claim(
      "int4 + 2:4 with static activations, transport form of float32's file",
      _share(static, base, "transport_bytes", "bytes"),
      "<= 0.094",
    ),
    Claim(
      "int4 + 2:4 with static activations, relative WER regression",
      worse(static),
      "<= 0.073",
    ),
  ]
  for label, bits, kept_of in _PAIRS:
    aware = by_name.get(ladder_name(bits, kept_of, True))
    rounded = by_name.get(ladder_name(bits, kept_of, False))
    value = None
    if aware and rounded:
      value = difference_interval(aware, rounded)[1]
    found.append(
      Claim(
        f"{label}, aware beats post-training: upper end of the 95% interval of"
        " the WER difference",
        value,
        "<= 0",
      )
    )
  found.append(
    Claim(
      "int4, latency of float32's",
      _share(int4, base, "latency_ms"),
      "<= 0.75",
    )
  )
  found += _nothing_grows(list(by_name.values()))
  overhead = [row["ratio"] for row in rows if row["kind"] == "step_overhead"]
  found.append(
    Claim(
      "a wrapped training step, of a plain one",
      max(overhead) if overhead else None,
      "<= 1.3",
    )
  )
  return found


def _share(
  row: Row | None, than: Row | None, key: str, of: str | None = None
) -> float | None:
  """Returns a row's figure over another's; None: a row is missing."""
  if row is None or than is None:
    return None
  return row[key] / than[of or key]


def _nothing_grows(rows: Sequence[Row]) -> list[Claim]:
  """Returns the claims that no file is worse than the dense one it replaces."""
  others = [row for row in rows if row["recipe"] != BASELINE]
  found = []
  for label, key in (
    ("largest stored", "bytes_of_replaced"),
    ("largest in transport form", "transport_bytes_of_replaced"),
  ):
    value = max((row[key] for row in others), default=None)
    found.append(
      Claim(f"{label}, of the dense file that it replaces", value, "<= 1")
    )
  slowest = max(
    (row["latency_of_replaced_interval"][0] for row in others), default=None
  )
  found.append(
    Claim(
      "slowest, of the dense file that it replaces: lower end of the 99.8%"
      " interval of the latency",
      slowest,
      "<= 1",
    )
  )
  return found


def difference_interval(one: Row, other: Row) -> tuple[float, float]:
  """Returns the 95% bootstrap interval of a WER difference, one less other.

  Utterances are resampled, the same for both.

  Args:
    one: with `edits` and `utterance_words` of each utterance.
    other: of the same utterances.
  """
  words = np.array(one["utterance_words"])
  edits = np.array(one["edits"]) - np.array(other["edits"])
  chosen = np.random.default_rng(0).integers(
    0, len(words), [_RESAMPLES, len(words)]
  )
  rates = edits[chosen].sum(1) / words[chosen].sum(1)
  low, high = np.quantile(rates, [0.025, 0.975])
  return float(low), float(high)

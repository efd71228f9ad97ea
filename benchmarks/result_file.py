"""What every benchmark writes: rows of figures, and claims computed from them.

The contract is in docs/architecture.md: one `benchmarks/results/NAME.json` per
benchmark, written by its command.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import read_json, write_json
from lingvo_lite.stage.manifest import environment


@dataclasses.dataclass(frozen=True)
class Claim:
  """A figure with a target.

  Attributes:
    claim: what the figure is, in words.
    value: the figure; None: it was not measured.
    target: `<= x` or `>= x`.
  """

  claim: str
  value: float | None
  target: str

  def __post_init__(self):
    self._bound()

  @property
  def met(self) -> bool:
    """Whether the figure was measured and reaches the target."""
    if self.value is None:
      return False
    relation, bound = self._bound()
    return self.value <= bound if relation == "<=" else self.value >= bound

  def _bound(self) -> tuple[str, float]:
    relation, _, bound = self.target.partition(" ")
    try:
      if relation not in ("<=", ">="):
        raise ValueError
      return relation, float(bound)
    except ValueError:
      raise InputError(
        f"found the target {self.target!r} of a claim, expected `<= x` or"
        " `>= x` with a number x"
      ) from None


def markdown_table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  """Returns a Markdown table, each line ended.

  Args:
    heads: of the columns.
    lines: a cell for each of them.
  """
  rule = ["---"] * len(heads)
  return "".join(
    f"| {' | '.join(cells)} |\n" for cells in (heads, rule, *lines)
  )


def claims_table(claims: Sequence[Claim]) -> str:
  """Returns the claims as a Markdown table, after an empty line."""
  lines = ["", "| claim | value | target | met |", "|---|--:|--:|---|"]
  for claim in claims:
    value = "not measured" if claim.value is None else f"{claim.value:.4g}"
    met = "yes" if claim.met else "no"
    lines.append(f"| {claim.claim} | {value} | {claim.target} | {met} |")
  return "\n".join(lines)


def read_claims(path: str) -> list[Claim]:
  """Reads the claims of a file that `write_result` wrote.

  Whether each is met is worked out anew from its value and target.

  Raises:
    InputError: the file is missing, damaged, or of another schema.
  """
  values = read_json(path, "results of a benchmark")
  try:
    return [
      Claim(row["claim"], row["value"], row["target"])
      for row in values["claims"]
    ]
  except (KeyError, TypeError, AttributeError) as error:
    raise InputError(
      f"found {path} without a proper {error}, expected the results of a"
      " benchmark: run its command again"
    ) from error


def kept_rows(path: str, config: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Reads the rows of earlier results, to keep those that are not made anew.

  Args:
    path: of the results; none there: no rows.
    config: what they must share with the results to come, such as the model.

  Raises:
    InputError: the file is damaged, or of another configuration.
  """
  if not os.path.exists(path):
    return []
  before = read_json(path, "results of this benchmark")
  for name, value in config.items():
    if before["config"].get(name) != value:
      raise InputError(
        f"found {path} with {name} {before['config'].get(name)}, expected"
        f" {value} of rows to keep: leave out --parts"
      )
  return before["rows"]


def write_result(
  path: str,
  *,
  config: dict[str, Any],
  seconds: float,
  rows: list[dict[str, Any]],
  claims: Sequence[Claim],
) -> None:
  """Writes the result of a benchmark.

  Args:
    path: of the JSON file.
    config: what the benchmark was asked for.
    seconds: how long its rows took to make.
    rows: the figures.
    claims: computed from the rows.
  """
  write_json(
    path,
    {
      "schema_version": 1,
      "environment": environment(),
      "config": config,
      "seconds": round(seconds, 1),
      "rows": rows,
      "claims": [
        {**dataclasses.asdict(claim), "met": claim.met} for claim in claims
      ],
    },
  )

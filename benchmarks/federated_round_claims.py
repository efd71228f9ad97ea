"""What is claimed of rounds' time and memory, computed from the rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.result_file import Claim

COMPARED_COHORT = 16
# Loops over clients in one process; the faster one is the limit.
PLAIN = ("plain", "plain_threads")


def federated_round_claims(
  rows: Sequence[Mapping[str, Any]], what: str
) -> list[Claim]:
  """Computes the claims; those whose rows are missing have no value.

  Args:
    rows: of the benchmark.
    what: the rounds compared, in words.
  """
  at = {
    row["system"]: row
    for row in rows
    if row["kind"] == "round" and row["cohort"] == COMPARED_COHORT
  }

  def seconds(*systems: str) -> float | None:
    """Returns the least median of the systems."""
    return min(
      (at[name]["round_s"] for name in systems if name in at), default=None
    )

  def ratio(*others: str) -> float | None:
    ours, theirs = seconds("ours"), seconds(*others)
    return None if ours is None or theirs is None else ours / theirs

  first = at["ours"]["first_round_s"] if "ours" in at else None
  program = [row["first_round_s"] for row in rows if row["kind"] == "program"]
  growth = [row["mb_a_round"] for row in rows if row["kind"] == "memory"]
  return [
    Claim(
      f"round time, ours to the fastest plain loop, {what}",
      ratio(*PLAIN),
      "<= 1.3",
    ),
    Claim(
      f"round time, ours to TFF's stock default, {what}",
      ratio("stock"),
      "<= 0.4",
    ),
    Claim(f"round time, ours to Flower, {what}", ratio("flower"), "<= 1"),
    Claim(
      "seconds from the process's start to the end of its first round, ours,"
      f" {what}",
      first,
      "<= 40",
    ),
    Claim(
      "seconds from the start of //fl:train to its first round, tiny, default"
      " corpus and settings",
      program[0] if program else None,
      "<= 40",
    ),
    Claim(
      "MB a round that memory grows", growth[0] if growth else None, "<= 1"
    ),
  ]

"""The device tiers of a run, as a file says them.

  {
   "schema_version": 1,
   "tiers": [
    {"name": "phone", "cohort": 4, "share": 0.7},
    {"name": "watch", "cohort": 2, "share": 0.3, "plan": "dropout_plan.json"}
   ]
  }

Each tier has a dropout plan, as `//fl:plan` writes it, below the file's folder
(left out: its clients get the whole model), and so many clients in each round.
Who is in it: either a share of all clients, drawn from the seed, or the
`speakers` that the file lists; the same way for all tiers.
"""

import dataclasses
import math
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import read_json

# Keeps this draw apart from those of cohorts.
_SALT = 407


@dataclasses.dataclass(frozen=True)
class DeviceTier:
  """Clients whose devices bear a model of the same size.

  Attributes:
    name: of lower-case letters, digits and underscores.
    cohort: how many of its clients take part in a round.
    plan_path: of its dropout plan; None: the whole model.
    share: of all clients that are in it, in (0, 1]; None: `speakers` says who.
    speakers: who is in it.
  """

  name: str
  cohort: int
  plan_path: str | None = None
  share: float | None = None
  speakers: tuple[str, ...] = ()

  def __post_init__(self):
    if not re.fullmatch("[a-z0-9_]+", self.name):
      raise InputError(
        f"found a tier named {self.name!r}, expected lower-case letters, digits"
        " and underscores: it becomes part of the metrics' names"
      )
    if self.cohort < 1:
      raise InputError(
        f"found the tier {self.name} with a cohort of {self.cohort}, expected 1"
        " or more: leave out a tier that nobody is to be drawn from"
      )
    if (self.share is None) == (not self.speakers):
      raise InputError(
        f"found the tier {self.name} with"
        f" {'both' if self.speakers else 'neither'} of share and speakers,"
        " expected one of them to say which clients are in it"
      )
    if self.share is not None and not 0 < self.share <= 1:
      raise InputError(
        f"found the tier {self.name} with a share of {self.share}, expected a"
        " fraction in (0, 1]"
      )


def read_tiers(path: str, cohort: int) -> tuple[DeviceTier, ...]:
  """Reads a file of tiers.

  Args:
    path: of the file.
    cohort: clients a round, of all tiers together.

  Raises:
    InputError: the file is missing or damaged, or the tiers contradict each
      other or the cohort.
  """
  values = read_json(path, "a file of device tiers")
  try:
    tiers = tuple(_tier(row, os.path.dirname(path)) for row in values["tiers"])
  except (AttributeError, KeyError, TypeError) as error:
    raise InputError(
      f"found {path} without proper tiers ({error}), expected a list of name,"
      " cohort, plan and share or speakers for each: see"
      " docs/federated_training.md"
    ) from error
  names = [tier.name for tier in tiers]
  if not names or len(set(names)) < len(names):
    raise InputError(
      f"found the tiers {names} in {path}, expected one or more, each with a"
      " name of its own"
    )
  drawn = sum(tier.cohort for tier in tiers)
  if drawn != cohort:
    raise InputError(
      f"found tiers of {drawn} clients a round together in {path}, expected"
      f" --cohort={cohort}: change one of the two"
    )
  if len({tier.share is None for tier in tiers}) > 1:
    raise InputError(
      f"found some tiers with a share and some with speakers in {path},"
      " expected one way for all"
    )
  shares = sum(tier.share or 0.0 for tier in tiers)
  if tiers[0].share is not None and not math.isclose(shares, 1, abs_tol=1e-6):
    raise InputError(
      f"found shares that add up to {shares:g} in {path}, expected 1: every"
      " client is in one tier"
    )
  return tiers


def tier_of_clients(
  tiers: Sequence[DeviceTier], speakers: Sequence[str], seed: int
) -> tuple[int, ...]:
  """Says which tier each client is in.

  Args:
    tiers: which there are.
    speakers: of the clients, in the order of their numbers.
    seed: of the run; who makes up a share is drawn from it.

  Returns:
    The number of each client's tier.

  Raises:
    InputError: a speaker is unknown, or in none or several tiers, or a tier has
      fewer clients than its cohort.
  """
  if tiers[0].share is not None:
    edges = np.cumsum([0.0, *(tier.share or 0.0 for tier in tiers)])
    edges = np.round(edges * len(speakers)).astype(int)
    salted = np.random.SeedSequence(seed, spawn_key=[_SALT])
    order = np.random.default_rng(salted).permutation(len(speakers))
    of_client = np.empty(len(speakers), int)
    of_client[order] = np.repeat(np.arange(len(tiers)), np.diff(edges))
    found = tuple(of_client.tolist())
  else:
    found = _listed(tiers, speakers)
  for number, tier in enumerate(tiers):
    if found.count(number) < tier.cohort:
      raise InputError(
        f"found {found.count(number)} clients in the tier {tier.name}, expected"
        f" its cohort of {tier.cohort} or more: give it more clients, or a"
        " smaller cohort"
      )
  return found


def _tier(row: dict[str, Any], folder: str) -> DeviceTier:
  known = {"name", "cohort", "plan", "share", "speakers"}
  if unknown := sorted(set(row.keys()) - known):
    raise InputError(
      f"found {unknown[0]!r} in a tier, expected {', '.join(sorted(known))}"
    )
  plan, speakers = row.get("plan"), row.get("speakers", [])
  share = row.get("share")
  if type(row["cohort"]) is not int or not isinstance(speakers, list):
    raise TypeError("cohort is a whole number, speakers are a list")
  if not isinstance(share, int | float | None):
    raise TypeError("share is a number")
  return DeviceTier(
    name=str(row["name"]),
    cohort=row["cohort"],
    plan_path=None if plan is None else os.path.join(folder, plan),
    share=share,
    speakers=tuple(str(speaker) for speaker in speakers),
  )


def _listed(
  tiers: Sequence[DeviceTier], speakers: Sequence[str]
) -> tuple[int, ...]:
  tier_of: dict[str, int] = {}
  for number, tier in enumerate(tiers):
    for speaker in tier.speakers:
      if speaker not in speakers:
        raise InputError(
          f"found the speaker {speaker} in the tier {tier.name}, expected one"
          f" of the {len(speakers)} clients: take it out"
        )
      if speaker in tier_of:
        other = tiers[tier_of[speaker]].name
        raise InputError(
          f"found the speaker {speaker} twice, in {other} and in {tier.name},"
          " expected it in one tier"
        )
      tier_of[speaker] = number
  for speaker in speakers:
    if speaker not in tier_of:
      raise InputError(
        f"found the client {speaker} in none of the tiers, expected it in one:"
        " add it to the speakers of a tier"
      )
  return tuple(tier_of[speaker] for speaker in speakers)

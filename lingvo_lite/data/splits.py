"""How a set of utterances is divided, and some are taken of it."""

import collections
from collections.abc import Sequence
from typing import TypeVar

from lingvo_lite.data.utterance import Utterance

_HELD_OUT_EVERY = 12
_Item = TypeVar("_Item")


def split_held_out(
  utterances: Sequence[Utterance],
) -> tuple[list[Utterance], list[Utterance]]:
  """Holds out every 12th utterance of each speaker, without randomness.

  The held-out speech is from speakers heard in training: it serves choices
  made along the way (importance, early stopping), never a published error
  rate.

  Args:
    utterances: in any order; each speaker's are taken by id.

  Returns:
    `(train, held_out)`, each sorted by id, disjoint, together all utterances.
  """
  train, held_out = [], []
  counts: collections.Counter[str] = collections.Counter()
  for utterance in sorted(utterances, key=lambda u: u.id):
    counts[utterance.speaker] += 1
    every_12th = counts[utterance.speaker] % _HELD_OUT_EVERY == 0
    (held_out if every_12th else train).append(utterance)
  return train, held_out


def spread(items: Sequence[_Item], count: int) -> list[_Item]:
  """Takes some from all over, such as from all speakers of a sorted set.

  Args:
    items: in an order that means something.
    count: how many, 1 or more.

  Returns:
    `count` items at equal steps from the first, or all where there are fewer;
    of less than twice as many, the first.
  """
  step = max(1, len(items) // count)
  return list(items[::step][:count])

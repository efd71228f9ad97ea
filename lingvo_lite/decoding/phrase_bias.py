"""Words that are likelier here than elsewhere: contact names, app commands."""

import dataclasses
from collections.abc import Sequence

from lingvo_lite.stage.errors import InputError
from lingvo_lite.text.normalization import normalize


@dataclasses.dataclass(frozen=True)
class BiasState:
  """How far a text is into a phrase.

  Attributes:
    node: place in the trie of phrases; None: in no phrase until the next word.
    pending: bonus of the phrase that is begun, taken back unless it is ended.
    whole: the part of it that a shorter phrase, ended on the way, keeps.
    earned: bonus of phrases that are ended.
  """

  node: int | None = 0
  pending: float = 0.0
  whole: float = 0.0
  earned: float = 0.0

  @property
  def bonus(self) -> float:
    """What a hypothesis gains, in nats."""
    return self.pending + self.earned


class PhraseBias:
  """Adds a bonus for each character of a listed phrase.

  Phrases begin and end with whole words. What is begun and not ended loses its
  bonus again, so that only whole phrases gain. Read from left to right; a
  phrase that begins inside another is not looked for.

  Args:
    phrases: any spelling that `normalize` makes the model's.
    characters: of the labels' ids.
    bonus_per_character: in nats.

  Raises:
    InputError: a phrase is empty or has a character that the model lacks.

  Reference: Aleksic et al. 2015, "Bringing contextual information to Google
  speech recognition", on-the-fly rescoring with a refund of partial matches.
  """

  def __init__(
    self,
    phrases: Sequence[str],
    characters: Sequence[str],
    bonus_per_character: float,
  ):
    ids = {character: label for label, character in enumerate(characters)}
    self._space = ids[" "]
    self._bonus = bonus_per_character
    self._children: list[dict[int, int]] = [{}]
    self._ends: set[int] = set()
    for phrase in phrases:
      normal = normalize(phrase)
      unknown = sorted(set(normal) - set(ids))
      if not normal or unknown:
        raise InputError(
          f"found the phrase {phrase!r}, expected one or more words of"
          f" {''.join(characters)!r}: write it as it is spoken"
        )
      self._add([ids[character] for character in normal])

  def _add(self, labels: Sequence[int]) -> None:
    node = 0
    for label in labels:
      if label not in self._children[node]:
        self._children[node][label] = len(self._children)
        self._children.append({})
      node = self._children[node][label]
    self._ends.add(node)

  def advance(self, state: BiasState, label: int) -> BiasState:
    """Returns the state after one more label."""
    if state.node is not None:
      child = self._children[state.node].get(label)
      if child is not None:
        whole = state.whole
        if label == self._space and state.node in self._ends:
          whole = state.pending
        pending = state.pending + self._bonus
        return BiasState(child, pending, whole, state.earned)
    if label != self._space:
      return BiasState(None, earned=state.earned + state.whole)
    return BiasState(0, earned=self.finish(state))

  def finish(self, state: BiasState) -> float:
    """Returns the bonus, in nats, if the text ends here."""
    ended = state.node is not None and state.node in self._ends
    return state.earned + (state.pending if ended else state.whole)

"""CTC prefix beam search on the host, frame by frame.

Own code, since what is packaged either is no longer kept or wants a compiler,
and none goes on from chunk to chunk.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from lingvo_lite.decoding.phrase_bias import BiasState, PhraseBias
from lingvo_lite.stage.errors import InputError

_NEVER = -math.inf


@dataclasses.dataclass(frozen=True)
class BeamConfig:
  """How to search.

  Attributes:
    width: prefixes that are kept from frame to frame.
    n_best: hypotheses that are returned.
    phrases: to be preferred, as they are spoken.
    bonus_per_character: of a phrase, in nats.
    least_log_probability: labels below it are not tried in a frame.
  """

  width: int = 16
  n_best: int = 5
  phrases: tuple[str, ...] = ()
  bonus_per_character: float = 1.0
  least_log_probability: float = -9.0

  def __post_init__(self) -> None:
    if not 1 <= self.n_best <= self.width:
      raise InputError(
        f"found a beam of {self.width} for the {self.n_best} best, expected at"
        " least 1 and no more than the beam holds"
      )


@dataclasses.dataclass(frozen=True)
class ScoredLabels:
  """One reading.

  Attributes:
    labels: ids, without blanks.
    score: logarithm of its probability, summed over the paths that the search
      kept, with the bonus of its phrases.
  """

  labels: tuple[int, ...]
  score: float


class _Prefix:
  """A reading so far, linked to the one that is a label shorter."""

  __slots__ = ("parent", "label", "children", "bias", "before", "after")

  def __init__(
    self, parent: "_Prefix | None", label: int, bias: BiasState
  ) -> None:
    self.parent = parent
    self.label = label
    self.children: dict[int, _Prefix] = {}
    self.bias = bias
    # Log-probabilities of the paths that end in a blank, and of the others.
    self.before = (_NEVER, _NEVER)
    self.after = (_NEVER, _NEVER)

  def labels(self) -> tuple[int, ...]:
    labels, prefix = [], self
    while prefix.parent is not None:
      labels.append(prefix.label)
      prefix = prefix.parent
    return tuple(reversed(labels))


class PrefixBeam:
  """The search over one utterance.

  Args:
    config: how to search.
    blank_id: the blank label.
    bias: of `config.phrases`; None: there are none.

  Reference: Hannun et al. 2014, "First-pass large vocabulary continuous speech
  recognition using bi-directional recurrent DNNs", algorithm 1, with phrases in
  the place of a language model.
  """

  def __init__(
    self, config: BeamConfig, blank_id: int, bias: PhraseBias | None = None
  ):
    self._config = config
    self._blank_id = blank_id
    self._bias = bias
    empty = _Prefix(None, -1, BiasState())
    empty.before = (0.0, _NEVER)
    self._beam = [empty]

  def advance(self, log_probs: np.ndarray) -> None:
    """Reads on.

    Args:
      log_probs: float32[T, V], the next frames.
    """
    for row in log_probs.tolist():
      self._one_frame(row)

  def best(self) -> list[ScoredLabels]:
    """Returns the n best readings of what was read so far, best first."""
    found = []
    for prefix in self._beam:
      bonus = self._bias.finish(prefix.bias) if self._bias else 0.0
      score = _log_add(*prefix.before) + bonus
      found.append(ScoredLabels(prefix.labels(), score))
    found.sort(key=lambda one: -one.score)
    return found[: self._config.n_best]

  def _one_frame(self, row: Sequence[float]) -> None:
    config, blank = self._config, self._blank_id
    likely = [
      label
      for label, value in enumerate(row)
      if value >= config.least_log_probability and label != blank
    ]
    touched: dict[int, _Prefix] = {}
    for prefix in self._beam:
      in_blank, in_label = prefix.before
      either = _log_add(in_blank, in_label)
      touched[id(prefix)] = prefix
      same = in_label + row[prefix.label] if prefix.label >= 0 else _NEVER
      prefix.after = (
        _log_add(prefix.after[0], either + row[blank]),
        _log_add(prefix.after[1], same),
      )
      for label in likely:
        # The same label again begins a new character only after a blank.
        reached = (in_blank if label == prefix.label else either) + row[label]
        if reached == _NEVER:
          continue
        longer = self._longer(prefix, label)
        touched[id(longer)] = longer
        longer.after = (longer.after[0], _log_add(longer.after[1], reached))
    everything = list(touched.values())
    for prefix in everything:
      prefix.before, prefix.after = prefix.after, (_NEVER, _NEVER)
    everything.sort(key=lambda p: -(_log_add(*p.before) + p.bias.bonus))
    self._beam = everything[: config.width]
    for prefix in everything[config.width :]:
      # Were it reached again, it would begin anew.
      prefix.before = (_NEVER, _NEVER)
      if prefix.parent is not None and not prefix.children:
        del prefix.parent.children[prefix.label]

  def _longer(self, prefix: _Prefix, label: int) -> _Prefix:
    child = prefix.children.get(label)
    if child is None:
      bias = prefix.bias
      if self._bias is not None:
        bias = self._bias.advance(bias, label)
      child = _Prefix(prefix, label, bias)
      prefix.children[label] = child
    return child


def _log_add(a: float, b: float) -> float:
  if a < b:
    a, b = b, a
  return a if b == _NEVER else a + math.log1p(math.exp(b - a))

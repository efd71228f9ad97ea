"""From labels and when they were heard to words with times and confidences."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

FRAME_S = 0.04
"""Seconds from one logit to the next: 10 ms features, subsampled by 4."""


@dataclasses.dataclass(frozen=True)
class HeardLabel:
  """One character of a transcript.

  Attributes:
    label: its id.
    start_frame: first frame that says it.
    end_frame: one past the last of them.
    log_probability: of the label in the frame that says it most clearly.
  """

  label: int
  start_frame: int
  end_frame: int
  log_probability: float


@dataclasses.dataclass(frozen=True)
class Word:
  """One word of a transcript.

  Attributes:
    text: the word.
    start_s: when its first character begins, from the start of the sound.
    end_s: when its last character ends.
    confidence: geometric mean of the probabilities of its characters, each
      where it is clearest; in [0, 1].
  """

  text: str
  start_s: float
  end_s: float
  confidence: float


def log_softmax(logits: np.ndarray) -> np.ndarray:
  """Returns float32[..., V], the logarithms of the probabilities."""
  shifted = logits - logits.max(-1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def greedy_labels(
  log_probs: np.ndarray, blank_id: int, first_frame: int = 0, last: int = -1
) -> list[HeardLabel]:
  """Reads the best label of each frame, as the .tflite graph does.

  Args:
    log_probs: float32[T, V].
    blank_id: the blank label.
    first_frame: which frame of the utterance the first row is.
    last: best label of the frame before; -1: there is none.

  Returns:
    The labels that begin in these frames. A run that goes on from the frame
    before is not one of them.
  """
  best = log_probs.argmax(-1)
  edges = np.flatnonzero(np.diff(best, prepend=last)).tolist()
  heard = []
  for start, end in itertools.pairwise([*edges, len(best)]):
    label = int(best[start])
    if label != blank_id:
      heard.append(
        HeardLabel(
          label,
          first_frame + start,
          first_frame + end,
          float(log_probs[start:end, label].max()),
        )
      )
  return heard


def align(
  log_probs: np.ndarray, labels: Sequence[int], blank_id: int
) -> list[HeardLabel]:
  """Finds when given labels were said: the likeliest path that reads so.

  Args:
    log_probs: float32[T, V]; T is enough for the labels.
    labels: U ids, without blanks.
    blank_id: the blank label.

  Returns:
    U labels with their times.

  Reference: Graves et al. 2006, "Connectionist Temporal Classification", the
  recursion of section 4.1 with the largest term in the place of the sum.
  """
  if not labels:
    return []
  states = np.full(2 * len(labels) + 1, blank_id)
  states[1::2] = labels
  # A state may follow that two before, if that is another label.
  skips = np.zeros(len(states), bool)
  skips[3::2] = states[3::2] != states[1:-2:2]
  scores = np.full(len(states), -np.inf)
  scores[:2] = log_probs[0, states[:2]]
  came_from = np.zeros([len(log_probs), len(states)], np.int8)
  for frame in range(1, len(log_probs)):
    choices = np.full([3, len(states)], -np.inf)
    choices[0] = scores
    choices[1, 1:] = scores[:-1]
    choices[2, 2:] = np.where(skips[2:], scores[:-2], -np.inf)
    came_from[frame] = choices.argmax(0)
    scores = choices.max(0) + log_probs[frame, states]
  state = int(len(states) - 1 - (scores[-2] >= scores[-1]))
  frames_of: dict[int, list[int]] = {}
  for frame in range(len(log_probs) - 1, -1, -1):
    frames_of.setdefault(state, []).append(frame)
    state -= int(came_from[frame, state])
  heard = []
  for index, label in enumerate(labels):
    frames = frames_of[2 * index + 1]
    heard.append(
      HeardLabel(
        int(label),
        frames[-1],
        frames[0] + 1,
        float(log_probs[frames, label].max()),
      )
    )
  return heard


def group_words(
  heard: Sequence[HeardLabel], characters: Sequence[str]
) -> tuple[Word, ...]:
  """Groups labels to words at the spaces.

  Args:
    heard: in their order.
    characters: of the labels' ids; the one that parts words is a space.
  """
  words, current = [], []
  for one in [*heard, None]:
    if one is not None and characters[one.label] != " ":
      current.append(one)
    elif current:
      mean = sum(c.log_probability for c in current) / len(current)
      words.append(
        Word(
          "".join(characters[c.label] for c in current),
          round(current[0].start_frame * FRAME_S, 3),
          round(current[-1].end_frame * FRAME_S, 3),
          math.exp(mean),
        )
      )
      current = []
  return tuple(words)

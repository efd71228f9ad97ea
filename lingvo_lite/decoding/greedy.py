"""Greedy CTC decoding on the host."""

from collections.abc import Sequence

import numpy as np


def greedy_decode(
  logits: np.ndarray, lengths: Sequence[int], blank_id: int
) -> list[list[int]]:
  """Takes the best label of each frame, joins repeats and drops blanks.

  Args:
    logits: float[B, T, V].
    lengths: frames of each utterance that are speech.
    blank_id: the blank label.

  Returns:
    The label ids of each utterance.
  """
  decoded = []
  for best, length in zip(logits.argmax(-1), lengths, strict=True):
    best = best[:length]
    starts = np.concatenate([[True], best[1:] != best[:-1]])[: len(best)]
    decoded.append(best[starts & (best != blank_id)].tolist())
  return decoded

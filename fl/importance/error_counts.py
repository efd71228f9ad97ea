"""Word errors of each utterance, and how sure a rate made of them is."""

import dataclasses
from collections.abc import Sequence

import jiwer
import numpy as np

_RESAMPLES = 1000
_INTERVAL_PERCENT = (2.5, 97.5)


@dataclasses.dataclass(frozen=True, eq=False)
class ErrorCounts:
  """Word edits of a set of utterances.

  Attributes:
    errors: int64[N], substitutions, deletions and insertions; float64 where
      they are means over several draws.
    words: int64[N], words in the reference.
  """

  errors: np.ndarray
  words: np.ndarray

  @property
  def rate(self) -> float:
    """The word error rate of all utterances together."""
    return float(self.errors.sum() / self.words.sum())


def count_errors(
  references: Sequence[str], hypotheses: Sequence[str]
) -> ErrorCounts:
  """Counts the word edits of each utterance.

  Args:
    references: what was said; none of them empty.
    hypotheses: what was recognised, in the same order.
  """
  aligned = jiwer.process_words(list(references), list(hypotheses))
  errors = [
    sum(
      max(
        chunk.ref_end_idx - chunk.ref_start_idx,
        chunk.hyp_end_idx - chunk.hyp_start_idx,
      )
      for chunk in chunks
      if chunk.type != "equal"
    )
    for chunks in aligned.alignments
  ]
  words = [len(reference) for reference in aligned.references]
  return ErrorCounts(np.array(errors), np.array(words))


def difference_interval(
  counts: ErrorCounts, baseline: ErrorCounts, seed: int
) -> tuple[float, float]:
  """95% bootstrap interval of the rise in word error rate over a baseline.

  Utterances are drawn with replacement, the same ones for both: what makes an
  utterance hard cancels out.

  Args:
    counts: of the probed model.
    baseline: of the model as it was, on the same utterances.
    seed: of the draws.

  Returns:
    `(low, high)` of rate(counts) - rate(baseline).
  """
  draws = np.random.default_rng(seed).integers(
    len(counts.words), size=[_RESAMPLES, len(counts.words)]
  )
  rise = (counts.errors - baseline.errors)[draws].sum(1)
  rates = rise / counts.words[draws].sum(1)
  low, high = np.percentile(rates, _INTERVAL_PERCENT)
  return float(low), float(high)

"""Word and character error rate."""

from collections.abc import Sequence

import jiwer


def word_error_rate(
  references: Sequence[str], hypotheses: Sequence[str]
) -> float:
  """Edits per reference word over all utterances; may exceed 1.

  Args:
    references: what was said; none of them empty.
    hypotheses: what was recognised, in the same order.
  """
  return float(jiwer.wer(list(references), list(hypotheses)))


def character_error_rate(
  references: Sequence[str], hypotheses: Sequence[str]
) -> float:
  """Edits per reference character over all utterances; may exceed 1."""
  return float(jiwer.cer(list(references), list(hypotheses)))

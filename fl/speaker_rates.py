"""How a model serves its speakers, not only their average."""

import collections
import math
from collections.abc import Sequence

import numpy as np

from fl.importance.error_counts import count_errors

_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def speaker_rates(
  speakers: Sequence[str],
  references: Sequence[str],
  hypotheses: Sequence[str],
) -> dict[str, float]:
  """Summarises the speakers' word error rates, none of them by name.

  Each speaker's rate is over all its words. The worst decile is the tenth of
  the speakers, rounded up, with the highest rates.

  Args:
    speakers: who said each utterance.
    references: what was said; none of them empty.
    hypotheses: what was recognised.

  Returns:
    `speakers`, how many; `wer_p10` to `wer_p90`, quantiles over speakers;
    `worst_decile_speakers`, how many, and `worst_decile_wer`, their mean rate.
  """
  counts = count_errors(references, hypotheses)
  errors: dict[str, int] = collections.Counter()
  words: dict[str, int] = collections.Counter()
  for speaker, wrong, said in zip(
    speakers, counts.errors, counts.words, strict=True
  ):
    errors[speaker] += int(wrong)
    words[speaker] += int(said)
  rates = np.sort([errors[speaker] / words[speaker] for speaker in words])
  worst = rates[-math.ceil(len(rates) / 10) :]
  return {
    "speakers": len(rates),
    **{
      f"wer_p{round(100 * quantile)}": float(np.quantile(rates, quantile))
      for quantile in _QUANTILES
    },
    "worst_decile_speakers": len(worst),
    "worst_decile_wer": float(worst.mean()),
  }

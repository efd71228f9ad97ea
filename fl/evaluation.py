"""Word error rates of federated weights, by domain."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from fl.dropout.sub_model import unflatten
from fl.speaker_rates import speaker_rates
from lingvo_lite.data.examples import Example
from lingvo_lite.metrics.recognition import Recognizer
from lingvo_lite.metrics.word_error_rate import word_error_rate
from lingvo_lite.text.vocabulary import CharacterVocabulary

# References and hypotheses, utterance by utterance.
_Recognized = tuple[list[str], list[str]]
# How the default corpus numbers its chapters.
_DOMAINS = {"1": "general", "2": "commands"}


class Evaluation:
  """Measures weights on a fixed set of utterances.

  Args:
    model: of the weights' shapes; its own values are overwritten.
    examples: what to recognise.
    prefix: what the names of the rates begin with.
    shipped: from trained weights to those that will ship, which are measured;
      None: they ship as they are.
  """

  def __init__(
    self,
    model: tf.keras.Model,
    examples: Sequence[Example],
    prefix: str,
    shipped: Callable[[np.ndarray], np.ndarray] | None = None,
  ) -> None:
    self._model = model
    self._shipped = shipped
    vocabulary = CharacterVocabulary()
    by_domain: dict[str, list[Example]] = {}
    for example in examples:
      chapter = example.utterance.chapter
      domain = _DOMAINS.get(chapter, f"chapter_{chapter}")
      by_domain.setdefault(domain, []).append(example)
    self._speakers = {
      f"{prefix}_{domain}": [e.utterance.speaker for e in of_domain]
      for domain, of_domain in by_domain.items()
    }
    self._recognizers = {
      f"{prefix}_{domain}": Recognizer(model, of_domain, vocabulary)
      for domain, of_domain in sorted(by_domain.items())
    }

  def measure(self, weights: np.ndarray) -> dict[str, float]:
    """Returns the word error rate of each domain.

    Args:
      weights: float32[P], all variables of the model.
    """
    return self._rates(self._recognized(weights))

  def measure_with_speakers(self, weights: np.ndarray) -> dict[str, Any]:
    """Returns what `measure` does, and how the speakers fare.

    That is `speakers`: quantiles over them in each domain, see `speaker_rates`.

    Args:
      weights: float32[P], all variables of the model.
    """
    recognized = self._recognized(weights)
    return {
      **self._rates(recognized),
      "speakers": {
        domain: speaker_rates(self._speakers[domain], *texts)
        for domain, texts in recognized.items()
      },
    }

  def _recognized(self, weights: np.ndarray) -> dict[str, _Recognized]:
    """Returns what was said and what was heard, by domain."""
    if self._shipped is not None:
      weights = self._shipped(weights)
    set_weights(self._model, weights)
    return {
      domain: (recognizer.references, recognizer.hypotheses())
      for domain, recognizer in self._recognizers.items()
    }

  def _rates(self, recognized: dict[str, _Recognized]) -> dict[str, float]:
    return {
      f"{domain}_wer": word_error_rate(*texts)
      for domain, texts in recognized.items()
    }


def set_weights(model: tf.keras.Model, weights: np.ndarray) -> None:
  """Gives a model the weights float32[P]."""
  shapes = [variable.shape.as_list() for variable in model.trainable_variables]
  for variable, value in zip(
    model.trainable_variables, unflatten(weights, shapes), strict=True
  ):
    variable.assign(value)

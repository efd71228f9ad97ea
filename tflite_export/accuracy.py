"""Error rates of .tflite files on speech, with intervals."""

import dataclasses
import queue
from collections.abc import Sequence
from concurrent import futures

import jiwer
import numpy as np
import tqdm

from lingvo_lite.metrics.word_error_rate import (
  character_error_rate,
  word_error_rate,
)
from tflite_export.interpreter import Recognizer
from tflite_export.speech import SpokenUtterance

# What the chapters of the default corpus are.
DOMAINS = {"1": "general", "2": "commands"}

_RESAMPLES = 1000
_CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Accuracy:
  """Error rates of one file on some speech.

  Attributes:
    wer: edits per reference word.
    cer: edits per reference character.
    wer_interval: 95% interval of `wer`, from resampling utterances.
    words: how many reference words there are.
    utterances: how many utterances.
  """

  wer: float
  cer: float
  wer_interval: tuple[float, float]
  words: int
  utterances: int


def transcribe_all(
  path: str, spoken: Sequence[SpokenUtterance], workers: int, name: str
) -> list[str]:
  """Recognises utterances on several cores, one thread an utterance.

  Args:
    path: the .tflite file.
    spoken: what to recognise.
    workers: how many at once.
    name: shown before the progress bar.

  Returns:
    The texts, in order.
  """
  idle: queue.SimpleQueue[Recognizer] = queue.SimpleQueue()
  for _ in range(workers):
    idle.put(Recognizer(path))

  def transcribe(one: SpokenUtterance) -> str:
    # LiteRT lets go of Python's lock while it computes.
    recognizer = idle.get()
    try:
      return recognizer.recognize(one.pcm).text
    finally:
      idle.put(recognizer)

  with futures.ThreadPoolExecutor(workers) as pool:
    texts = tqdm.tqdm(
      pool.map(transcribe, spoken),
      desc=f"recognising {name}",
      total=len(spoken),
      unit="utt",
    )
    return list(texts)


def accuracy(references: Sequence[str], texts: Sequence[str]) -> Accuracy:
  """Returns the error rates of texts.

  Args:
    references: what was said; at least one, none empty.
    texts: what was recognised, in the same order.
  """
  edits, words = [], []
  for reference, text in zip(references, texts, strict=True):
    counts = jiwer.process_words(reference, text)
    edits.append(counts.substitutions + counts.deletions + counts.insertions)
    words.append(len(reference.split()))
  return Accuracy(
    wer=word_error_rate(references, texts),
    cer=character_error_rate(references, texts),
    wer_interval=_interval(np.array(edits), np.array(words)),
    words=sum(words),
    utterances=len(words),
  )


def accuracy_by_domain(
  spoken: Sequence[SpokenUtterance], texts: Sequence[str]
) -> dict[str, Accuracy]:
  """Returns the accuracy overall (`all`) and of each domain that is there."""
  domains = {"all": list(range(len(spoken)))}
  for index, one in enumerate(spoken):
    domain = DOMAINS.get(one.utterance.chapter)
    if domain:
      domains.setdefault(domain, []).append(index)
  return {
    domain: accuracy(
      [spoken[index].utterance.transcript for index in indices],
      [texts[index] for index in indices],
    )
    for domain, indices in domains.items()
  }


def _interval(edits: np.ndarray, words: np.ndarray) -> tuple[float, float]:
  """Returns the bootstrap interval of sum(edits) / sum(words)."""
  chosen = np.random.default_rng(0).integers(
    0, len(edits), [_RESAMPLES, len(edits)]
  )
  rates = edits[chosen].sum(1) / words[chosen].sum(1)
  tail = (1 - _CONFIDENCE) / 2
  low, high = np.quantile(rates, [tail, 1 - tail])
  return float(low), float(high)

"""What whoever ships a model should know of it, measured and in words."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tflite_export.accuracy import DOMAINS, Accuracy, accuracy
from tflite_export.speech import SpokenUtterance


@dataclasses.dataclass(frozen=True)
class MeasuredModel:
  """A .tflite file and its figures.

  Attributes:
    recipe: how it was compressed.
    file: its name in the package.
    bytes: its size.
    chunk_ms: how long a chunk of a stream is; None: it does not stream.
    rtf: time to compute a second of speech, whole utterances, one thread.
    latency_ms: median time of an utterance of about 3 s, one thread.
    accuracy_by_group: `all`, each domain and each group of speakers.
  """

  recipe: str
  file: str
  bytes: int
  chunk_ms: int | None
  rtf: float
  latency_ms: float
  accuracy_by_group: Mapping[str, Accuracy]


def accuracy_by_group(
  spoken: Sequence[SpokenUtterance],
  texts: Sequence[str],
  groups_of_speakers: Mapping[str, Sequence[str]],
) -> dict[str, Accuracy]:
  """Returns the accuracy overall, by domain and by group of speakers.

  Args:
    spoken: what was said.
    texts: what was recognised, in the same order.
    groups_of_speakers: what `read_speaker_groups` returned.
  """
  members: dict[str, list[int]] = {"all": list(range(len(spoken)))}
  for index, one in enumerate(spoken):
    utterance = one.utterance
    domain = DOMAINS.get(utterance.chapter)
    of_speaker = groups_of_speakers.get(utterance.speaker, ())
    for group in (*([domain] if domain else []), *of_speaker):
      members.setdefault(group, []).append(index)
  return {
    group: accuracy(
      [spoken[index].utterance.transcript for index in indices],
      [texts[index] for index in indices],
    )
    for group, indices in members.items()
  }


def write_model_card(
  models: Sequence[MeasuredModel],
  description: Mapping[str, Any],
  measured_on: str,
) -> str:
  """Returns the model card, Markdown.

  Args:
    models: of the package, of one training.
    description: that of the first one's file.
    measured_on: the speech of the error rates, in words.
  """
  streams = models[0].chunk_ms
  lines = [
    "# Model card",
    "",
    "A Conformer with CTC that writes English in capital letters without"
    " punctuation, for use on the device.",
    "",
    "## Data",
    "",
    f"Trained on: {description.get('training_data', 'not told')}.",
    f"Measured on: {measured_on}. No speaker of it was heard in training.",
    "",
    "## Intended use",
    "",
    "Commands and dictation of sentences like those of the training data, near"
    " the microphone, in English. 16 kHz mono.",
    (
      f"It streams: text comes after each chunk of {streams} ms."
      if streams
      else "It takes whole utterances; it does not stream."
    ),
    "",
    "## Files",
    "",
    "| model | bytes | RTF | ms for 3 s |",
    "|---|---|---|---|",
    *(
      f"| `{model.file}` ({model.recipe}) | {model.bytes} | {model.rtf:.4f} |"
      f" {model.latency_ms:.1f} |"
      for model in models
    ),
    "",
    "RTF is the time to compute a second of speech on one thread of the machine"
    " that made this package.",
    "",
    "## Word error rate",
    "",
    "In brackets the 95% interval, from resampling utterances.",
    "",
    "| speech | words | " + " | ".join(m.recipe for m in models) + " |",
    "|---|---|" + "---|" * len(models),
  ]
  for group, first in models[0].accuracy_by_group.items():
    cells = []
    for model in models:
      found = model.accuracy_by_group[group]
      low, high = found.wer_interval
      cells.append(f"{found.wer:.3f} [{low:.3f}, {high:.3f}]")
    lines.append(f"| {group} | {first.words} | " + " | ".join(cells) + " |")
  lines += [
    "",
    "## Limits",
    "",
    "- Where the speech above is synthetic, people are recognised worse than"
    " the table says: measure on your users' speech before you ship.",
    "- Speakers, accents, noise, rooms and words unlike the training data were"
    " not measured. Digits are written as words, if at all.",
    "- Confidences are the model's own and not calibrated.",
    "- Not for decisions about people, nor where a wrong word does harm.",
    "",
    "## Licence",
    "",
    f"{description.get('licence', 'see LICENSE')}; the text is in `LICENSE`.",
    "",
  ]
  return "\n".join(lines)

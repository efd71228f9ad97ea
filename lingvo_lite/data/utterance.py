"""One recording and what was said in it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Utterance:
  """One utterance of a corpus, before any audio is read.

  Attributes:
    id: unique in its corpus, for example `1000-1-0007`.
    speaker: who speaks; one speaker is one federated client.
    chapter: the group of utterances of that speaker.
    audio_path: an audio file.
    transcript: what was said, normalised.
  """

  id: str
  speaker: str
  chapter: str
  audio_path: str
  transcript: str

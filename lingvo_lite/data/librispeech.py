"""Loads any folder in the LibriSpeech layout."""

import pathlib
from collections.abc import Iterator

from lingvo_lite.data.utterance import Utterance
from lingvo_lite.stage.errors import InputError
from lingvo_lite.text.normalization import normalize

AUDIO_EXTENSIONS = (".flac", ".wav", ".ogg", ".mp3")

_LAYOUT = (
  "the LibriSpeech layout: SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt beside "
  f"SPEAKER-CHAPTER-UTTERANCE{{{','.join(AUDIO_EXTENSIONS)}}}"
)


def load_librispeech(folder: str) -> list[Utterance]:
  """Lists the utterances of a folder in the LibriSpeech layout.

  A transcript whose audio file is missing is listed all the same, with the path
  where the audio should be: `load_examples` skips and counts it like any other
  bad utterance. Audio without a transcript is no utterance.

  Args:
    folder: the folder that holds one folder a speaker.

  Returns:
    The utterances, sorted by id.

  Raises:
    InputError: if the folder is missing, holds no transcript, or two
      transcripts share an id, or a transcript file is not UTF-8 text.
  """
  root = pathlib.Path(folder)
  if not root.is_dir():
    raise InputError(
      f"{folder}: found no such folder, expected {_LAYOUT}; check the path"
    )
  utterances: dict[str, Utterance] = {}
  for path in sorted(root.glob("*/*/*.trans.txt")):
    for utterance in _read_chapter(path):
      if utterance.id in utterances:
        raise InputError(
          f"{path}: found the utterance {utterance.id} a second time, "
          "expected each id once: rename or remove one"
        )
      utterances[utterance.id] = utterance
  if not utterances:
    raise InputError(
      f"{folder}: found no transcripts, expected {_LAYOUT}; name the folder "
      "that holds one folder a speaker"
    )
  return [utterances[key] for key in sorted(utterances)]


def _read_chapter(path: pathlib.Path) -> Iterator[Utterance]:
  """Yields the utterances of one transcript file, `ID TEXT` a line."""
  try:
    text = path.read_text(encoding="utf-8")
  except UnicodeDecodeError:
    raise InputError(
      f"{path}: found bytes that are not UTF-8, expected UTF-8 text; save "
      "it as UTF-8"
    ) from None
  audio = {
    entry.stem: entry
    for entry in sorted(path.parent.iterdir())
    if entry.suffix in AUDIO_EXTENSIONS
  }
  for line in text.splitlines():
    if not line.strip():
      continue
    name, _, transcript = line.strip().partition(" ")
    yield Utterance(
      id=name,
      speaker=path.parent.parent.name,
      chapter=path.parent.name,
      audio_path=str(audio.get(name, path.with_name(name + ".flac"))),
      transcript=normalize(transcript),
    )

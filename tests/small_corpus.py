"""A few utterances of the default corpus, for tests."""

import os
import shutil

from lingvo_lite.data.default_corpus import extract_default_corpus
from lingvo_lite.data.librispeech import load_librispeech

# Set -> speakers, utterances of each chapter of a speaker. Twelve of them hold
# one out.
_SIZES = {"server": (4, 12), "clients": (4, 12), "eval": (2, 3)}


def make_small_corpus(folder: str) -> str:
  """Copies a part of the default corpus; returns its root."""
  whole = extract_default_corpus(os.path.join(folder, "whole"))
  root = os.path.join(folder, "small")
  for name, (speakers, count) in _SIZES.items():
    chapters: dict[tuple[str, str], list] = {}
    for utterance in load_librispeech(os.path.join(whole, name)):
      key = (utterance.speaker, utterance.chapter)
      chapters.setdefault(key, []).append(utterance)
    chosen = sorted({speaker for speaker, _ in chapters})[:speakers]
    for (speaker, chapter), utterances in chapters.items():
      if speaker in chosen:
        target = os.path.join(root, name, speaker, chapter)
        _copy_chapter(utterances[:count], target, f"{speaker}-{chapter}")
  shutil.rmtree(whole)
  return root


def _copy_chapter(utterances: list, folder: str, prefix: str) -> None:
  os.makedirs(folder)
  lines = []
  for utterance in utterances:
    shutil.copy2(utterance.audio_path, folder)
    lines.append(f"{utterance.id} {utterance.transcript}\n")
  path = os.path.join(folder, f"{prefix}.trans.txt")
  with open(path, "w", encoding="utf-8") as file:
    file.writelines(lines)

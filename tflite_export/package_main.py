"""Packs .tflite files for an app, with what it must know of them.

  ./bazelw run //tflite_export:package -- --models=A.tflite,B.tflite --out=DIR

writes a package into DIR, or, where `--out` ends in .zip, an archive: the
models, labels, a model card with error rates by group of speakers, the
signatures, SHA-256 of everything and the licence. With `--page=DIR` also a web
page that runs it (docs/edge.md).
"""

from lingvo_lite.stage import entry_point

import os
from collections.abc import Sequence

from absl import flags, logging

from lingvo_lite.data.default_corpus import corpus_description, find_corpus
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.stage.errors import InputError
from tflite_export.accuracy import transcribe_all
from tflite_export.cost import measure_speed
from tflite_export.interpreter import Recognizer
from tflite_export.model_card import MeasuredModel, accuracy_by_group
from tflite_export.package import build_package
from tflite_export.speaker_groups import read_speaker_groups
from tflite_export.speech import load_speech
from tflite_export.web_page import build_page

_MODELS = flags.DEFINE_list(
  "models", None, ".tflite files of the exporter.", required=True
)
_CORPUS = flags.DEFINE_string(
  "corpus",
  None,
  "Folder with the speech of unseen speakers below eval/, in the LibriSpeech"
  " layout, and SPEAKERS.TXT for the groups. Left out: the default corpus"
  " (synthetic speech).",
)
_OUT = flags.DEFINE_string(
  "out", None, "Folder or .zip to write.", required=True
)
_PAGE = flags.DEFINE_string(
  "page", None, "Folder for a web page that runs the package; needs --litertjs."
)
_LITERTJS = flags.DEFINE_string(
  "litertjs", None, "node_modules/@litertjs, where npm installed its core."
)
_MAX_BAD_FRACTION = flags.DEFINE_float(
  "max_bad_fraction",
  0.05,
  "More than this fraction of unusable utterances is an error.",
)


def main(argv: Sequence[str]) -> None:
  """Measures, packs and checks."""
  del argv
  if bool(_PAGE.value) != bool(_LITERTJS.value):
    raise InputError(
      "found one of --page and --litertjs, expected both or none: install"
      " @litertjs/core with npm and name its folder"
    )
  paths = [entry_point.user_path(path) for path in _MODELS.value]
  recognizers = [Recognizer(path) for path in paths]
  labels = recognizers[0].labels
  if any(one.labels != labels for one in recognizers):
    raise InputError(
      "found models of different labels, expected those of one training"
    )
  recipes = [one.description["recipe"]["name"] for one in recognizers]
  if len(set(recipes)) != len(recipes):
    raise InputError(
      f"found the recipes {', '.join(recipes)}, expected each once"
    )
  corpus = find_corpus(_CORPUS.value)
  name = corpus_description(_CORPUS.value)
  spoken, _ = load_speech(
    load_librispeech(os.path.join(corpus, "eval")), _MAX_BAD_FRACTION.value
  )
  groups = read_speaker_groups(corpus)
  speeds = measure_speed(paths, spoken)
  workers = len(os.sched_getaffinity(0))
  models = []
  for path, one, recipe, speed in zip(
    paths, recognizers, recipes, speeds, strict=True
  ):
    texts = transcribe_all(path, spoken, workers, recipe)
    chunk = one.chunk_samples
    models.append(
      MeasuredModel(
        recipe=recipe,
        file=f"models/{recipe}.tflite",
        bytes=os.path.getsize(path),
        chunk_ms=None if chunk is None else chunk // 16,
        rtf=speed.rtf,
        latency_ms=speed.latency_ms,
        accuracy_by_group=accuracy_by_group(spoken, texts, groups),
      )
    )
  speakers = len({one.utterance.speaker for one in spoken})
  out = entry_point.user_path(_OUT.value)
  build_package(
    paths,
    models,
    labels,
    recognizers[0].description,
    f"{name}, {len(spoken)} utterances of {speakers} speakers",
    out,
  )
  logging.info("packed and checked: %s", out)
  if _PAGE.value:
    page = entry_point.user_path(_PAGE.value)
    build_page(out, entry_point.user_path(_LITERTJS.value), page)
    logging.info("a page that runs it: %s", page)


if __name__ == "__main__":
  entry_point.run(main)

"""Finds out which layers of a trained model matter.

  ./bazelw run //fl:importance -- --model=DIR --out=DIR

Each width group (half feed-forward, attention, convolution) and each whole
block of the model goes back, one at a time, to the values that its training
began with, and the word error rate on held-out server speech is measured. The
parts whose loss barely matters ("ambient") are those that Federated Dropout
shrinks first. Written to --out: importance.json, importance.png, manifest.json.
"""

from lingvo_lite.stage import entry_point

import os  # noqa: I001
import time
from collections.abc import Sequence

import tqdm
from absl import flags, logging

from fl.importance.chart import draw_importance
from fl.importance.importance_file import write_importance
from fl.importance.reset_probe import ResetProbe, importance_rows, parts_of
from lingvo_lite.data.default_corpus import extract_default_corpus
from lingvo_lite.data.examples import load_examples
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.data.splits import split_held_out
from lingvo_lite.metrics.recognition import Recognizer
from lingvo_lite.models.model_file import load_model
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.manifest import write_manifest
from lingvo_lite.text.vocabulary import CharacterVocabulary

_MODEL = flags.DEFINE_string(
  "model",
  None,
  "Folder with model.keras and initial.keras, as pre-training writes them.",
  required=True,
)
_CORPUS = flags.DEFINE_string(
  "corpus",
  None,
  "Folder with the server's speech below server/, in the LibriSpeech layout;"
  " every 12th utterance of a speaker, held out of pre-training, is used. Left"
  " out: the default corpus (synthetic speech).",
)
_OUT = flags.DEFINE_string(
  "out",
  None,
  "Folder for importance.json, importance.png and manifest.json. Left out:"
  " lingvo_lite_runs/importance.",
)
_AMBIENT_THRESHOLD = flags.DEFINE_float(
  "ambient_threshold",
  0.05,
  "A part is ambient if resetting it raises the word error rate (a fraction) by"
  " no more than this.",
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the confidence intervals.")
_MAX_BAD_FRACTION = flags.DEFINE_float(
  "max_bad_fraction",
  0.05,
  "More than this fraction of unusable utterances is an error.",
)


def main(argv: Sequence[str]) -> None:
  """Probes the model and writes what was found."""
  del argv
  started = time.monotonic()
  if not 0 <= _AMBIENT_THRESHOLD.value <= 1:
    raise InputError(
      f"found --ambient_threshold={_AMBIENT_THRESHOLD.value}, expected 0 to 1:"
      " it is a rise in word error rate, as a fraction"
    )
  folder = entry_point.user_path(_MODEL.value)
  model_path = os.path.join(folder, "model.keras")
  initial_path = os.path.join(folder, "initial.keras")
  model, config = load_model(model_path)
  initial_model, _ = load_model(initial_path)
  initial = {v.name: v.numpy() for v in initial_model.variables}

  if _CORPUS.value:
    corpus = entry_point.user_path(_CORPUS.value)
  else:
    corpus = extract_default_corpus(entry_point.default_folder("corpus"))
  _, held_out = split_held_out(load_librispeech(os.path.join(corpus, "server")))
  vocabulary = CharacterVocabulary()
  loaded = load_examples(
    held_out, vocabulary, _MAX_BAD_FRACTION.value, must_align=False
  )
  probe = ResetProbe(
    model, initial, Recognizer(model, loaded.examples, vocabulary)
  )
  baseline = probe.baseline()
  logging.info(
    "word error rate as trained: %.3f on %d held-out utterances",
    baseline.rate,
    len(loaded.examples),
  )
  parts = parts_of(config)
  outcomes = []
  with tqdm.tqdm(total=len(parts), desc="resetting", unit="part") as bar:
    for outcome in probe.outcomes(parts):
      outcomes.append(outcome)
      rise = outcome.counts.rate - baseline.rate
      bar.set_postfix_str(f"{outcome.part.name} {rise:+.3f}")
      bar.update()
  threshold = _AMBIENT_THRESHOLD.value
  rows = importance_rows(baseline, outcomes, threshold, _SEED.value)

  out = (
    entry_point.user_path(_OUT.value)
    if _OUT.value
    else entry_point.default_folder("importance")
  )
  json_path = os.path.join(out, "importance.json")
  chart_path = os.path.join(out, "importance.png")
  write_importance(json_path, config.to_dict(), baseline.rate, threshold, rows)
  draw_importance(chart_path, rows, baseline.rate, threshold)
  ambient = [r["group"] for r in rows if r["ambient"] and r["kind"] == "group"]
  seconds = time.monotonic() - started
  write_manifest(
    out,
    stage="importance",
    config={
      "ambient_threshold": threshold,
      "max_bad_fraction": _MAX_BAD_FRACTION.value,
      "model": config.to_dict(),
    },
    seed=_SEED.value,
    inputs=[model_path, initial_path, *(u.audio_path for u in held_out)],
    outputs=[json_path, chart_path],
    seconds=seconds,
    metrics={
      "baseline_wer": baseline.rate,
      "utterances": len(loaded.examples),
      "ambient_groups": len(ambient),
      "groups": len(config.full_units()),
    },
    skipped_utterances=loaded.skipped,
  )
  logging.info(
    "%d of %d groups are ambient; %.0f s; written to %s",
    len(ambient),
    len(config.full_units()),
    seconds,
    out,
  )


if __name__ == "__main__":
  entry_point.run(main)

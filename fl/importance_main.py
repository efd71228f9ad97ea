"""Finds out which layers of a trained model matter.

  ./bazelw run //fl:importance -- --model=DIR --out=DIR

Each width group (half feed-forward, attention, convolution) and each whole
block of the model goes back, one at a time, to the values that its training
began with, and the word error rate on held-out server speech is measured. The
parts whose loss barely matters ("ambient") are those that Federated Dropout
shrinks first. On demand they go back to earlier checkpoints of the run
(--checkpoints), to fresh draws (--rerand_seeds), or several at once (--joint).
Written to --out: importance.json, importance.png, manifest.json.
"""

from lingvo_lite.stage import entry_point

import os  # noqa: I001
import time
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags, logging

from fl.importance.blockwise import BlockwiseRecognizer
from fl.importance.chart import draw_importance
from fl.importance.error_counts import ErrorCounts
from fl.importance.importance_file import (
  Measured,
  speech_digest,
  write_importance,
)
from fl.importance.importance_rows import (
  importance_rows,
  mean_counts,
  most_ambient,
)
from fl.importance.probes import (
  Part,
  Probe,
  Values,
  check_values,
  fresh_values,
  joint_parts,
  parts_of,
)
from lingvo_lite.data.default_corpus import find_corpus
from lingvo_lite.data.examples import load_examples
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.data.splits import split_held_out
from lingvo_lite.models.model_file import load_model
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.manifest import sha256, write_manifest
from lingvo_lite.text.vocabulary import CharacterVocabulary

# Far from the seeds that models are trained from.
_FRESH_SEED = 1_000_003

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
  " no more than this, at the upper end of the 95% interval.",
)
_CHECKPOINTS = flags.DEFINE_list(
  "checkpoints",
  [],
  "Further .keras files of the same run, earliest first, such as those of"
  " //lingvo_lite:pretrain --keep_snapshots: each part also goes back to each.",
)
_RERAND_SEEDS = flags.DEFINE_integer(
  "rerand_seeds", 0, "Fresh random draws that each part also gets, in turn."
)
_JOINT = flags.DEFINE_integer(
  "joint", 0, "Also reset the two, three, ... this many most ambient groups."
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
  for flag in (_RERAND_SEEDS, _JOINT):
    if flag.value < 0:
      raise InputError(f"found --{flag.name}={flag.value}, expected 0 or more")
  folder = entry_point.user_path(_MODEL.value)
  model_path = os.path.join(folder, "model.keras")
  initial_path = os.path.join(folder, "initial.keras")
  earlier_paths = [entry_point.user_path(p) for p in _CHECKPOINTS.value]
  model, config = load_model(model_path)
  shapes = {v.name: tuple(v.shape) for v in model.variables}
  initial = _values(initial_path, shapes)
  earlier = {path: _values(path, shapes) for path in earlier_paths}

  corpus = find_corpus(_CORPUS.value)
  speech = load_librispeech(os.path.join(corpus, "server"))
  _, held_out = split_held_out(speech)
  vocabulary = CharacterVocabulary()
  loaded = load_examples(
    held_out, vocabulary, _MAX_BAD_FRACTION.value, must_align=False
  )
  recognizer = BlockwiseRecognizer(model, config, loaded.examples, vocabulary)
  threshold = _AMBIENT_THRESHOLD.value
  parts = parts_of(config)

  def rows_of(
    which: Sequence[Part], values: Values, probe: str
  ) -> tuple[ErrorCounts, list[ErrorCounts], list[dict[str, Any]]]:
    baseline, counts = recognizer.measure([Probe(p, values) for p in which])
    rows = importance_rows(
      baseline, which, counts, probe, threshold, _SEED.value
    )
    return baseline, counts, rows

  logging.info(
    "resetting %d parts on %d held-out utterances",
    len(parts),
    len(loaded.examples),
  )
  baseline, _, rows = rows_of(parts, initial, "reinit")
  logging.info("word error rate as trained: %.3f", baseline.rate)
  further: dict[str, list[dict[str, Any]]] = {}
  for path, values in earlier.items():
    name = os.path.splitext(os.path.basename(path))[0]
    logging.info("resetting to %s", name)
    further.setdefault("checkpoint_rows", []).extend(
      rows_of(parts, values, f"reinit:{name}")[2]
    )
  draws = []
  for number in range(_RERAND_SEEDS.value):
    logging.info("fresh draw %d of %d", number + 1, _RERAND_SEEDS.value)
    values = fresh_values(config, _FRESH_SEED + _SEED.value + number)
    draws.append(rows_of(parts, values, "rerand")[1])
  if draws:
    means = [mean_counts(of_part) for of_part in zip(*draws, strict=True)]
    further["rerand_rows"] = importance_rows(
      baseline, parts, means, "rerand", threshold, _SEED.value
    )
    for row, of_part in zip(
      further["rerand_rows"], zip(*draws, strict=True), strict=True
    ):
      row["wers"] = [counts.rate for counts in of_part]
  joint = joint_parts(most_ambient(rows, _JOINT.value))
  if joint:
    logging.info("resetting %d sets of groups", len(joint))
    further["joint_rows"] = rows_of(joint, initial, "reinit")[2]

  out = (
    entry_point.user_path(_OUT.value)
    if _OUT.value
    else entry_point.default_folder("importance")
  )
  json_path = os.path.join(out, "importance.json")
  chart_path = os.path.join(out, "importance.png")
  write_importance(
    json_path,
    Measured(config.to_dict(), sha256(model_path), speech_digest(speech)),
    baseline.rate,
    threshold,
    rows,
    further,
  )
  draw_importance(chart_path, rows, baseline.rate, threshold)
  ambient = [r["group"] for r in rows if r["ambient"] and r["kind"] == "group"]
  seconds = time.monotonic() - started
  write_manifest(
    out,
    stage="importance",
    config={
      "ambient_threshold": threshold,
      "rerand_seeds": _RERAND_SEEDS.value,
      "joint": _JOINT.value,
      "max_bad_fraction": _MAX_BAD_FRACTION.value,
      "model": config.to_dict(),
    },
    seed=_SEED.value,
    inputs=[
      model_path,
      initial_path,
      *earlier,
      *(u.audio_path for u in held_out),
    ],
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


def _values(path: str, shapes: Mapping[str, tuple[int, ...]]) -> Values:
  """Reads the variables of a model that fits the one probed."""
  model, _ = load_model(path)
  values = {variable.name: variable.numpy() for variable in model.variables}
  check_values(values, shapes, path)
  return values


if __name__ == "__main__":
  entry_point.run(main)

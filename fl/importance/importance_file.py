"""`importance.json`: what the reset probes found."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from lingvo_lite.data.utterance import Utterance
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import read_json, write_json


@dataclasses.dataclass(frozen=True)
class Measured:
  """What importances were measured of, and on.

  Attributes:
    model: the model's configuration, as JSON values.
    model_sha256: of its model.keras; importances of one checkpoint say nothing
      certain about another.
    corpus_sha256: of the speech, see `speech_digest`.
  """

  model: Mapping[str, Any]
  model_sha256: str
  corpus_sha256: str


def speech_digest(utterances: Sequence[Utterance]) -> str:
  """Returns a SHA-256 that changes with the utterances of a corpus."""
  what = [
    (u.id, u.transcript, os.path.getsize(u.audio_path))
    for u in sorted(utterances, key=lambda u: u.id)
  ]
  return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def write_importance(
  path: str,
  measured: Measured,
  baseline_wer: float,
  ambient_threshold: float,
  rows: Sequence[Mapping[str, Any]],
  further: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
  """Writes the rows, and what they are about.

  Args:
    path: of the file.
    measured: what the rows are about.
    baseline_wer: word error rate (a fraction) of the model as trained.
    ambient_threshold: largest rise that counts as ambient.
    rows: of the resets to initial values, which plans are made from.
    further: of other probes, by the key that they get in the file.
  """
  write_json(
    path,
    {
      "schema_version": 1,
      **dataclasses.asdict(measured),
      "baseline_wer": baseline_wer,
      "ambient_threshold": ambient_threshold,
      "rows": [dict(row) for row in rows],
      **{name: [dict(row) for row in of] for name, of in further.items()},
    },
  )


def group_importances(path: str, model: Mapping[str, Any]) -> dict[str, float]:
  """Reads the rise in word error rate of each width group of a kind of model.

  Args:
    path: what `write_importance` wrote, of any checkpoint.
    model: the configuration that it must be of, as JSON values.

  Raises:
    InputError: the file is missing or damaged, or about another model.
  """
  values, deltas = _read(path)
  check_kind(
    path, values["model"], model, "probe this model with //fl:importance"
  )
  return deltas


def check_kind(
  path: str, found: Mapping[str, Any], expected: Mapping[str, Any], mend: str
) -> None:
  """Raises InputError unless a file is about a kind of model.

  Args:
    path: of the file.
    found: the configuration that it is about, as JSON values.
    expected: the one that it should be about.
    mend: what to do if it is not.
  """
  for name in sorted({*found, *expected}):
    if found.get(name) != expected.get(name):
      raise InputError(
        f"found {path} to be about a model with {name} {found.get(name)},"
        f" expected {expected.get(name)}: {mend}"
      )


def read_importance(path: str, measured: Measured) -> dict[str, float]:
  """Reads how much each width group matters.

  Args:
    path: what `write_importance` wrote.
    measured: the model that a plan is made for, and the speech at hand.

  Returns:
    By name of the width group, the rise in word error rate.

  Raises:
    InputError: the file is missing, damaged, about another model or
      checkpoint, or measured on another corpus.
  """
  values, deltas = _read(path)
  digests = [values["model_sha256"], values["corpus_sha256"]]
  check_kind(
    path,
    values["model"],
    measured.model,
    "probe this model with //fl:importance",
  )
  for what, digest, expected in (
    ("another checkpoint (model.keras)", digests[0], measured.model_sha256),
    ("another corpus", digests[1], measured.corpus_sha256),
  ):
    if digest != expected:
      raise InputError(
        f"found {path} to be about {what} with SHA-256 {digest[:12]}, expected"
        f" {expected[:12]}: probe this one with //fl:importance"
      )
  return deltas


def _read(path: str) -> tuple[dict[str, Any], dict[str, float]]:
  values = read_json(path, "layer importances (importance.json)")
  try:
    deltas = {
      row["group"]: float(row["delta"])
      for row in values["rows"]
      if row["kind"] == "group"
    }
    for name in ("model", "model_sha256", "corpus_sha256"):
      values[name]
  except (KeyError, TypeError, ValueError) as error:
    raise InputError(
      f"found {path} without a proper {error}, expected layer importances:"
      " make it again with //fl:importance"
    ) from error
  return values, deltas

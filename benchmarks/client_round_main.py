"""Measures what a round costs a client under each of several plans.

  ./bazelw run //benchmarks:client_round -- --model=DIR --plans=A.json,B.json

The plans take turns, round by round. Written to --out: client_round.json (a row
a plan: bytes as planned and as counted, medians of the time), manifest.json.
"""

from lingvo_lite.stage import entry_point

import os
import time
from collections.abc import Sequence

from absl import flags, logging

from benchmarks.client_round import measure_client_rounds
from fl.data.client_data import ClientData
from fl.dropout.plan import DropoutPlan
from fl.dropout.sub_model import flatten, variable_specs
from fl.training_recipe import CLIENT_AUGMENT
from lingvo_lite.data.default_corpus import find_corpus
from lingvo_lite.data.examples import load_examples
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.data.splits import split_held_out
from lingvo_lite.models.model_file import load_model
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import write_json
from lingvo_lite.stage.manifest import write_manifest
from lingvo_lite.text.vocabulary import CharacterVocabulary

_MODEL = flags.DEFINE_string(
  "model", None, "Folder with the model.keras to train.", required=True
)
_PLANS = flags.DEFINE_list(
  "plans", None, "dropout_plan.json files for this model.", required=True
)
_CORPUS = flags.DEFINE_string(
  "corpus",
  None,
  "Folder with the clients' speech below clients/. Left out: the default corpus"
  " (synthetic speech).",
)
_OUT = flags.DEFINE_string(
  "out",
  None,
  "Folder for client_round.json and manifest.json. Left out:"
  " lingvo_lite_runs/client_round.",
)
_COHORT = flags.DEFINE_integer("cohort", 6, "Clients a round.")
_REPEATS = flags.DEFINE_integer(
  "repeats", 5, "Measured rounds of each plan, after one to warm up."
)

_BATCH_SIZE, _LOCAL_EPOCHS, _SEED, _MAX_BAD_FRACTION = 4, 1, 0, 0.05


def main(argv: Sequence[str]) -> None:
  """Measures and writes the rows."""
  del argv
  started = time.monotonic()
  for flag in (_COHORT, _REPEATS):
    if flag.value < 1:
      raise InputError(f"found --{flag.name}={flag.value}, expected 1 or more")
  model_path = os.path.join(entry_point.user_path(_MODEL.value), "model.keras")
  model, config = load_model(model_path)
  plan_paths = [entry_point.user_path(path) for path in _PLANS.value]
  plans = [DropoutPlan.read(path) for path in plan_paths]
  for plan in plans:
    plan.check_model(config.to_dict())
  corpus = find_corpus(_CORPUS.value)
  train, _ = split_held_out(load_librispeech(os.path.join(corpus, "clients")))
  loaded = load_examples(
    train, CharacterVocabulary(), _MAX_BAD_FRACTION, must_align=True
  )
  data = ClientData(
    loaded.examples, _BATCH_SIZE, _LOCAL_EPOCHS, CLIENT_AUGMENT, _SEED
  )
  if _COHORT.value > len(data):
    raise InputError(
      f"found --cohort={_COHORT.value}, expected at most the {len(data)}"
      " clients that there are"
    )
  rows = measure_client_rounds(
    config,
    variable_specs(model),
    flatten(model.trainable_variables).numpy(),
    plans,
    data,
    range(_COHORT.value),
    _REPEATS.value,
  )
  out = (
    entry_point.user_path(_OUT.value)
    if _OUT.value
    else entry_point.default_folder("client_round")
  )
  path = os.path.join(out, "client_round.json")
  write_json(path, {"schema_version": 1, "rows": rows})
  write_manifest(
    out,
    stage="client_round",
    config={
      "cohort": _COHORT.value,
      "repeats": _REPEATS.value,
      "batch_size": _BATCH_SIZE,
      "local_epochs": _LOCAL_EPOCHS,
    },
    seed=_SEED,
    inputs=[model_path, *plan_paths],
    outputs=[path],
    seconds=time.monotonic() - started,
    metrics={},
    skipped_utterances=loaded.skipped,
  )
  for row in rows:
    logging.info(
      "%s, %.1f%% of the parameters: %.2f s of computation a round, %.2f s in"
      " all; %d bytes down, %d up",
      row["strategy"],
      100 * row["client_params"] / row["server_params"],
      row["cpu_seconds"],
      row["seconds"],
      row["download_bytes"][0],
      row["upload_bytes"][0],
    )
  logging.info("written to %s", path)


if __name__ == "__main__":
  entry_point.run(main)

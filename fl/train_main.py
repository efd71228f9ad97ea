"""Trains a model on the clients' speech, which never leaves them.

  ./bazelw run //fl:train -- --model=DIR --plan=dropout_plan.json --out=DIR

Each round, a cohort of clients gets sub-models of the sizes that the plan says,
trains them on its own speech and sends back what changed; the server averages
each weight over the clients that held it, and goes over some of its own public
speech (--rehearsal_steps), so as not to forget it. Written to --out:
model.keras, training.json (a row a round, with how far each layer moved),
unit_order.json, manifest.json. Stopped at any moment, the same command goes on
from the last checkpoint and ends with the same model. Below --workdir:
checkpoints, rounds.csv, and events for TensorBoard.
"""

from lingvo_lite.stage import entry_point

import dataclasses
import math
import os
import time
from collections.abc import Sequence

from absl import flags, logging

from fl.data.cohorts import SAMPLINGS
from fl.dropout.selection import MASK_SCOPES
from fl.dropout.tier_file import DeviceTier, read_tiers
from fl.faults.fault_lab import FaultConfig
from fl.faults.round_policy import RoundPolicy
from fl.federated_config import SCHEDULES, FederatedConfig
from fl.privacy.privacy_config import MECHANISMS, PrivacyConfig
from fl.processes.aggregation import AGGREGATIONS, AggregationConfig
from fl.runtime.remote import parse_address
from fl.training_run import train, write_trained
from fl.training_settings import TrainingSettings
from fl.training_speech import read_speech
from fl.training_start import read_start
from lingvo_lite.data.default_corpus import find_corpus
from lingvo_lite.stage.errors import InputError

_MODEL = flags.DEFINE_string(
  "model", None, "Folder with the model.keras to start from.", required=True
)
_PLAN = flags.DEFINE_string(
  "plan",
  None,
  "dropout_plan.json, written by //fl:plan for this model. Left out: clients"
  " get the whole model.",
)
_TIERS = flags.DEFINE_string(
  "tiers",
  None,
  "File of device tiers, each with a plan and its part of the clients and of"
  " the cohort; docs/federated_training.md says how to write it. Left out: all"
  " clients are alike, as --plan says.",
)
_CORPUS = flags.DEFINE_string(
  "corpus",
  None,
  "Folder with the clients' speech below clients/ (a speaker is a client), the"
  " server's below server/ and the speech to measure on below eval/, in the"
  " LibriSpeech layout. Left out: the default corpus (synthetic speech).",
)
_OUT = flags.DEFINE_string(
  "out",
  None,
  "Folder for model.keras, training.json and manifest.json. Left out:"
  " lingvo_lite_runs/federated.",
)
_ROUNDS = flags.DEFINE_integer("rounds", 60, "Rounds of training.")
_COHORT = flags.DEFINE_integer("cohort", 6, "Clients a round.")
_LOCAL_EPOCHS = flags.DEFINE_integer(
  "local_epochs", 4, "How often a client goes through its speech in a round."
)
_CLIENT_BATCH_SIZE = flags.DEFINE_integer(
  "client_batch_size", 4, "Utterances a local step."
)
_CLIENT_LEARNING_RATE = flags.DEFINE_float(
  "client_learning_rate", 2e-3, "Of local Adam, in the first round."
)
_CLIENT_LEARNING_RATE_SCHEDULE = flags.DEFINE_enum(
  "client_learning_rate_schedule",
  "cosine",
  SCHEDULES,
  "How the clients' rate goes on: to zero along half a cosine, with the inverse"
  " square root of the round, or not at all.",
)
_CLIENT_CLIP_NORM = flags.DEFINE_float(
  "client_clip_norm", 1.0, "Largest norm of a local step's gradient."
)
_SERVER_LEARNING_RATE = flags.DEFINE_float(
  "server_learning_rate",
  1.6e-2,
  "Of the server's Adam, in the first round; it falls to zero along half a"
  " cosine.",
)
_REHEARSAL_STEPS = flags.DEFINE_integer(
  "rehearsal_steps",
  6,
  "Updates on the server's own speech after each round; 0: it does without, and"
  " forgets what the clients do not say.",
)
_KEEP_ZEROS = flags.DEFINE_bool(
  "keep_zeros",
  False,
  "Zeros of the model's matrices stay zeros: trains a pruned model.",
)
_DYNAMIC_SPARSITY = flags.DEFINE_bool(
  "dynamic_sparsity",
  False,
  "Train all levels of the ladder in --model, such as what"
  " //tflite_export:train_dynamic_sparsity wrote, on full models.",
)
_QUANTIZED = flags.DEFINE_bool(
  "quantized",
  False,
  "Train the compressed model in --model, such as what //tflite_export:compress"
  " wrote, at its quantised weights; //tflite_export:export reads --out then.",
)
_MASK_SCOPE = flags.DEFINE_enum(
  "mask_scope",
  "client",
  MASK_SCOPES,
  "Who shares a draw of kept units: each client has its own, all clients of a"
  " round have the same, or all of the whole run have the leading ones, in the"
  " order of their magnitude in --model: sub-models are then nested.",
)
_OUTPUT_SCALING = flags.DEFINE_bool(
  "output_scaling",
  True,
  "Scale the output of a layer that clients get in part by 1 / its keep rate.",
)
_REFRESH_EVERY = flags.DEFINE_integer(
  "refresh_every",
  0,
  "Rounds between refreshes of the plan: layers that training hardly moved"
  " shrink first from then on, at the same size; 0: the plan stays.",
)
_REFRESH_HYSTERESIS = flags.DEFINE_float(
  "refresh_hysteresis",
  0.2,
  "By how much more a layer that shrank must have moved to take the place of"
  " one that was whole, as a fraction.",
)
_EVALUATE_EVERY = flags.DEFINE_integer(
  "evaluate_every",
  5,
  "Rounds between measurements on the clients' held-out utterances.",
)
_WORKDIR = flags.DEFINE_string(
  "workdir",
  None,
  "Folder for what a run keeps between rounds: checkpoints, rounds.csv,"
  " TensorBoard events. Left out: --out/workdir.",
)
_WORKERS = flags.DEFINE_list(
  "workers",
  None,
  "Where workers answer (//fl:worker), as host:port,host:port. Left out: one on"
  " this machine.",
)
_COHORT_SAMPLING = flags.DEFINE_enum(
  "cohort_sampling",
  "uniform",
  SAMPLINGS,
  "How a round's clients are drawn: distinct, with replacement, in proportion"
  " to their utterances, or each by a coin of its own (poisson).",
)
_PROXIMAL_STRENGTH = flags.DEFINE_float(
  "proximal_strength",
  0.0,
  "mu of FedProx: how strongly clients are held to the weights they received.",
)
_VARIATIONAL_NOISE = flags.DEFINE_float(
  "variational_noise",
  0.0,
  "Standard deviation of the noise on clients' weights in each local step.",
)
_MAX_UPDATE_NORM = flags.DEFINE_float(
  "max_update_norm", 1e4, "Updates of a larger norm are turned down."
)
_MIN_CLIENTS = flags.DEFINE_integer(
  "min_clients",
  None,
  "Good updates that a round needs to count. Left out: 1; with --privacy 0,"
  " which is what epsilon is right for.",
)
_ROUND_ATTEMPTS = flags.DEFINE_integer(
  "round_attempts", 3, "How often a round is tried, with other clients."
)
_DEADLINE_S = flags.DEFINE_float(
  "deadline_s",
  None,
  "Simulated seconds after which a round closes without those who are late."
  " Left out: it waits.",
)
_CLIENT_STEP_S = flags.DEFINE_float(
  "client_step_s", 0.1, "Simulated seconds of a local step on a client."
)
_AGGREGATION = flags.DEFINE_enum(
  "aggregation",
  "mean",
  AGGREGATIONS,
  "How the server makes one update of many; all but the mean stand a few wild"
  " clients.",
)
_TRIM_FRACTION = flags.DEFINE_float(
  "trim_fraction", 0.1, "What the trimmed mean leaves out at either end."
)
_SECURE_AGGREGATION = flags.DEFINE_bool(
  "secure_aggregation", False, "Add updates up so that none is seen alone."
)
_COMPRESS_UPDATES = flags.DEFINE_bool(
  "compress_updates", False, "Send updates as 8-bit integers."
)
_PRIVACY = flags.DEFINE_enum(
  "privacy",
  "none",
  MECHANISMS,
  "Noise for user-level differential privacy of the model.",
)
_NOISE_MULTIPLIER = flags.DEFINE_float(
  "noise_multiplier", 1.0, "Noise on a round's sum, in clipping norms."
)
_PRIVACY_CLIP_NORM = flags.DEFINE_float(
  "privacy_clip_norm",
  0.1,
  "Norm that updates are clipped to; in the first round, where it adapts.",
)
_PRIVACY_DELTA = flags.DEFINE_float(
  "privacy_delta", 1e-5, "Delta of (epsilon, delta)."
)
_FAULTS = {
  field.name: flags.DEFINE_float(
    f"fault_{field.name}",
    field.default,
    "To see that training goes on: how many times as long slow clients take."
    if field.name == "slowdown"
    else "To see that training goes on: the fraction of clients with the fault"
    f" '{field.name}' in each round.",
  )
  for field in dataclasses.fields(FaultConfig)
  if field.name != "seed"
}
_SEED = flags.DEFINE_integer("seed", 0, "Where all randomness comes from.")
_MAX_BAD_FRACTION = flags.DEFINE_float(
  "max_bad_fraction",
  0.05,
  "More than this fraction of unusable utterances is an error.",
)


def main(argv: Sequence[str]) -> None:
  """Trains and writes the artifact."""
  del argv
  started = time.monotonic()
  settings = _settings()
  # What does not fit is said before any speech is read.
  start = read_start(settings)
  speech = read_speech(settings, find_corpus(_CORPUS.value))
  trained = train(settings, start, speech)
  write_trained(
    settings, start, speech, trained, seconds=time.monotonic() - started
  )
  logging.info(
    "%d rounds in %.0f s; written to %s",
    settings.config.rounds,
    time.monotonic() - started,
    settings.out,
  )


def _settings() -> TrainingSettings:
  """Returns what the flags ask for."""
  config = FederatedConfig(
    rounds=_ROUNDS.value,
    cohort=_COHORT.value,
    local_epochs=_LOCAL_EPOCHS.value,
    client_batch_size=_CLIENT_BATCH_SIZE.value,
    client_learning_rate=_CLIENT_LEARNING_RATE.value,
    client_clip_norm=_CLIENT_CLIP_NORM.value,
    server_learning_rate=_SERVER_LEARNING_RATE.value,
    rehearsal_steps=_REHEARSAL_STEPS.value,
    keep_zeros=_KEEP_ZEROS.value,
    seed=_SEED.value,
    mask_scope=_MASK_SCOPE.value,
    output_scaling=_OUTPUT_SCALING.value,
    refresh_every=_REFRESH_EVERY.value,
    refresh_hysteresis=_REFRESH_HYSTERESIS.value,
    evaluate_every=_EVALUATE_EVERY.value,
    proximal_strength=_PROXIMAL_STRENGTH.value,
    variational_noise=_VARIATIONAL_NOISE.value,
    max_update_norm=_MAX_UPDATE_NORM.value,
    client_learning_rate_schedule=_CLIENT_LEARNING_RATE_SCHEDULE.value,
  )
  policy = RoundPolicy(
    min_clients=(
      int(_PRIVACY.value == "none")
      if _MIN_CLIENTS.value is None
      else _MIN_CLIENTS.value
    ),
    max_attempts=_ROUND_ATTEMPTS.value,
    deadline_s=math.inf if _DEADLINE_S.value is None else _DEADLINE_S.value,
    client_step_s=_CLIENT_STEP_S.value,
  )
  faults = FaultConfig(
    **{name: flag.value for name, flag in _FAULTS.items()}, seed=config.seed
  )
  aggregation = AggregationConfig(
    rule=_AGGREGATION.value,
    trim_fraction=_TRIM_FRACTION.value,
    privacy=PrivacyConfig(
      mechanism=_PRIVACY.value,
      noise_multiplier=_NOISE_MULTIPLIER.value,
      clip_norm=_PRIVACY_CLIP_NORM.value,
      delta=_PRIVACY_DELTA.value,
    ),
    secure=_SECURE_AGGREGATION.value,
    compressed=_COMPRESS_UPDATES.value,
  )
  out = (
    entry_point.user_path(_OUT.value)
    if _OUT.value
    else entry_point.default_folder("federated")
  )
  return TrainingSettings(
    config=config,
    policy=policy,
    faults=faults,
    aggregation=aggregation,
    cohort_sampling=_COHORT_SAMPLING.value,
    tiers=_device_tiers(config.cohort),
    tiers_path=entry_point.user_path(_TIERS.value) if _TIERS.value else None,
    workers=tuple(parse_address(worker) for worker in _WORKERS.value or []),
    dynamic_sparsity=_DYNAMIC_SPARSITY.value,
    quantized=_QUANTIZED.value,
    model_folder=entry_point.user_path(_MODEL.value),
    max_bad_fraction=_MAX_BAD_FRACTION.value,
    out=out,
    workdir=(
      entry_point.user_path(_WORKDIR.value)
      if _WORKDIR.value
      else os.path.join(out, "workdir")
    ),
  )


def _device_tiers(cohort: int) -> tuple[DeviceTier, ...]:
  """The tiers that the flags ask for; one, if all clients are alike."""
  if _TIERS.value and _PLAN.value:
    raise InputError(
      "found --plan and --tiers, expected one of them: name the plan of each"
      " tier in the file"
    )
  if _TIERS.value:
    return read_tiers(entry_point.user_path(_TIERS.value), cohort)
  plan_path = entry_point.user_path(_PLAN.value) if _PLAN.value else None
  return (DeviceTier("all", cohort, plan_path, share=1.0),)


if __name__ == "__main__":
  entry_point.run(main)

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

import dataclasses  # noqa: I001
import hashlib
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags, logging

from fl.checkpoints import Checkpoints
from fl.data.client_data import ClientData
from fl.data.cohorts import SAMPLINGS, check_cohort, tiered_sampler
from fl.dropout.refresh import phase_ends, refreshed_plan
from fl.dropout.selection import MASK_SCOPES, unit_selection
from fl.dropout.sub_model import flatten, variable_specs
from fl.dropout.tier_file import DeviceTier, read_tiers, tier_of_clients
from fl.dropout.tiers import Tiers
from fl.dropout.unit_order import order_by_magnitude, write_unit_order
from fl.evaluation import Evaluation, set_weights
from fl.faults.fault_lab import FaultConfig
from fl.faults.round_policy import RoundPolicy
from fl.federated_config import SCHEDULES, FederatedConfig
from fl.importance.churn import Churn, mean_churn
from fl.importance.probes import parts_of
from fl.ladder import Ladder
from fl.privacy.ledger import PrivacyLedger
from fl.privacy.privacy_config import MECHANISMS, PrivacyConfig
from fl.processes.aggregation import AGGREGATIONS, AggregationConfig
from fl.program import FederatedProgram
from fl.quantized_model import QuantizedModel
from fl.round_log import RoundLog
from fl.runtime.local import local_runtime
from fl.runtime.remote import parse_address, remote_runtime
from fl.tier_plans import keep_rates, mean_sizes, read_plan, tier_sizes
from fl.training_recipe import (
  CLIENT_AUGMENT,
  SERVER_AUGMENT,
  build_process,
  build_rehearsal,
)
from lingvo_lite.data.default_corpus import find_corpus
from lingvo_lite.data.examples import ExampleSet, load_examples
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.data.splits import split_held_out
from lingvo_lite.data.utterance import Utterance
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.model_file import load_model, save_model
from lingvo_lite.models.unit_groups import unit_groups
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import write_json
from lingvo_lite.stage.manifest import sha256, write_manifest
from lingvo_lite.text.vocabulary import CharacterVocabulary

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
  aggregation.privacy.check_rounds(_COHORT_SAMPLING.value, policy.min_clients)
  workers = [parse_address(worker) for worker in _WORKERS.value or []]
  out = (
    entry_point.user_path(_OUT.value)
    if _OUT.value
    else entry_point.default_folder("federated")
  )
  workdir = (
    entry_point.user_path(_WORKDIR.value)
    if _WORKDIR.value
    else os.path.join(out, "workdir")
  )
  model_path = os.path.join(entry_point.user_path(_MODEL.value), "model.keras")
  device_tiers = _device_tiers(config.cohort)
  corpus = find_corpus(_CORPUS.value)

  model, model_config = load_model(model_path)
  specs = variable_specs(model)
  initial_weights = flatten(model.trainable_variables).numpy()
  groups = unit_groups(model_config)
  # Said before any speech is read.
  plans = [
    read_plan(tier, model_config, specs, groups) for tier in device_tiers
  ]
  if _DYNAMIC_SPARSITY.value and _QUANTIZED.value:
    raise InputError(
      "found --dynamic_sparsity and --quantized, expected one of them: the"
      " levels of a ladder are quantised when they are exported"
    )
  folder = os.path.dirname(model_path)
  ladder, quantized, form_path, levels_before = None, None, [], {}
  if _DYNAMIC_SPARSITY.value:
    ladder = Ladder.read(folder)
    ladder.check(plans)
    form_path = [Ladder.path(folder)]
  elif _QUANTIZED.value:
    quantized = QuantizedModel.read(folder, specs, initial_weights)
    quantized.check(plans, config)
    form_path = [QuantizedModel.path(folder)]
  form = ladder or quantized
  shipped = quantized.on_grid if quantized else None
  order = order_by_magnitude(specs, groups, initial_weights)
  churn = Churn(specs, parts_of(model_config))

  utterances = load_librispeech(os.path.join(corpus, "clients"))
  unheard = load_librispeech(os.path.join(corpus, "eval"))
  train, held_out = split_held_out(utterances)
  # A speaker is a client.
  check_cohort(config.cohort, len({one.speaker for one in train}))
  logging.info("reading the clients' speech, %d utterances", len(utterances))
  train_set = _load(train, must_align=True)
  held_out_set = _load(held_out, must_align=False)
  unheard_set = _load(unheard, must_align=False)
  public, public_set = [], ExampleSet([], [])
  if config.rehearsal_steps:
    public, _ = split_held_out(load_librispeech(os.path.join(corpus, "server")))
    logging.info("reading the server's speech, %d utterances", len(public))
    public_set = _load(public, must_align=True)
  data = ClientData(
    train_set.examples,
    config.client_batch_size,
    config.local_epochs,
    CLIENT_AUGMENT,
    config.seed,
  )

  of_client = tier_of_clients(device_tiers, data.speakers, config.seed)
  sampler = tiered_sampler(
    data.utterances,
    of_client,
    [tier.cohort for tier in device_tiers],
    config.seed,
    _COHORT_SAMPLING.value,
  )
  settings = [
    dataclasses.asdict(config),
    dataclasses.asdict(policy),
    dataclasses.asdict(faults),
    dataclasses.asdict(aggregation),
  ]
  checkpoints = Checkpoints(
    os.path.join(workdir, "checkpoints"),
    _fingerprint(
      [
        *settings,
        dataclasses.asdict(sampler),
        [dataclasses.asdict(plan) for plan in plans],
      ],
      [model_path, *form_path],
      train + public,
    ),
  )
  ledger = PrivacyLedger(
    aggregation.privacy,
    # There are no several tiers then.
    sampler.samplers[0].probability
    if _COHORT_SAMPLING.value == "poisson"
    else None,
  )

  def observe(old: np.ndarray, new: np.ndarray) -> dict[str, Any]:
    return {"churn": churn.relative(old, new)}

  phases = [plans]
  ends = phase_ends(config.rounds, config.refresh_every)
  with remote_runtime(workers) if workers else local_runtime():
    for end in ends:
      plans = phases[-1]
      tiers = Tiers(
        tuple(tier.name for tier in device_tiers),
        tuple(
          unit_selection(
            config.mask_scope,
            plan.sub_model(specs, groups),
            config.seed,
            order,
          )
          for plan in plans
        ),
        of_client,
      )
      # The process comes before the models used here: building it makes
      # earlier Keras models unusable.
      process = build_process(
        config,
        plans,
        model_config,
        tiers,
        specs,
        data,
        aggregation,
        faults,
        form,
      )
      model = build_ctc_model(model_config)
      held_out_speech = Evaluation(
        model, held_out_set.examples, "held_out", shipped
      )
      unheard_speech = Evaluation(model, unheard_set.examples, "eval", shipped)
      if end == ends[0]:
        before = unheard_speech.measure(initial_weights)
        if ladder:
          levels_before = ladder.measure_levels(
            initial_weights, specs, unheard_speech.measure
          )
        logging.info("before: %s", _rates(before))
      sizes = tier_sizes(device_tiers, process)
      for size in sizes:
        logging.info(
          "%s: %d clients, %d a round; each gets %.1f%% of the model: %.2f MB"
          " down and %.2f MB up",
          size["name"],
          size["clients"],
          size["cohort"],
          100 * size["client_params"] / tiers.server_params,
          size["download_bytes_per_client"] / 1e6,
          size["upload_bytes_per_client"] / 1e6,
        )
      program = FederatedProgram(
        process,
        data,
        dataclasses.replace(config, rounds=end),
        sampler,
        checkpoints,
        policy,
        faults,
        rehearsal=build_rehearsal(
          config, plans, model_config, public_set, form
        ),
        ledger=ledger if aggregation.privacy.is_private else None,
        report=RoundLog(workdir, keep_rates(device_tiers, plans)).write,
      )
      weights, rows = program.run(
        initial_weights, held_out_speech.measure, observe
      )
      if end < config.rounds:
        moved = mean_churn(
          [row["churn"] for row in rows[end - config.refresh_every : end]]
        )
        phases.append(
          [
            refreshed_plan(
              plan,
              first.client_params,
              specs,
              groups,
              moved,
              config.refresh_hysteresis,
            )
            for plan, first in zip(plans, phases[0], strict=True)
          ]
        )
  after = unheard_speech.measure(weights)
  logging.info("after: %s", _rates(after))
  levels_after = {}
  if ladder:
    levels_after = ladder.measure_levels(weights, specs, unheard_speech.measure)
  for name, rates in levels_after.items():
    logging.info("after, %s: %s", name, _rates(rates))

  # The model of integers is what was measured and what is exported.
  set_weights(model, shipped(weights) if shipped else weights)
  trained_path = os.path.join(out, "model.keras")
  curve_path = os.path.join(out, "training.json")
  outputs = [trained_path]
  if form:
    outputs = form.save(model, model_config, out)
  else:
    save_model(model, model_config, trained_path)
  write_json(
    curve_path,
    {
      "schema_version": 1,
      "before": before,
      "after": after,
      "speakers": {
        **held_out_speech.measure_speakers(weights),
        **unheard_speech.measure_speakers(weights),
      },
      "rows": rows,
    },
  )
  order_path = os.path.join(out, "unit_order.json")
  write_unit_order(order_path, order)
  write_manifest(
    out,
    stage="federated",
    config={
      **dataclasses.asdict(config),
      "round_policy": _finite(dataclasses.asdict(policy)),
      "faults": dataclasses.asdict(faults),
      "aggregation": dataclasses.asdict(aggregation),
      "cohort_sampling": _COHORT_SAMPLING.value,
      "tiers": [
        {"name": tier.name, "cohort": tier.cohort, "share": tier.share}
        for tier in device_tiers
      ],
      "model": model_config.to_dict(),
      "keep_rates": [keep_rates(device_tiers, plans) for plans in phases],
      "client_augment": dataclasses.asdict(CLIENT_AUGMENT),
      "server_augment": dataclasses.asdict(SERVER_AUGMENT),
      "max_bad_fraction": _MAX_BAD_FRACTION.value,
    },
    seed=config.seed,
    inputs=[
      model_path,
      *form_path,
      *([entry_point.user_path(_TIERS.value)] if _TIERS.value else []),
      *(tier.plan_path for tier in device_tiers if tier.plan_path),
      *(u.audio_path for u in utterances),
      *(u.audio_path for u in unheard),
      *(u.audio_path for u in public),
    ],
    outputs=[*outputs, curve_path, order_path],
    seconds=time.monotonic() - started,
    metrics={
      "clients": len(data),
      "train_utterances": len(train_set.examples),
      "server_params": tiers.server_params,
      # The mean over a round's clients, where tiers differ.
      **mean_sizes(sizes),
      "tiers": sizes,
      "before": before,
      "after": after,
      "levels_before": levels_before,
      "levels_after": levels_after,
    },
    skipped_utterances=(
      train_set.skipped
      + held_out_set.skipped
      + unheard_set.skipped
      + public_set.skipped
    ),
  )
  checkpoints.remove()
  logging.info(
    "%d rounds in %.0f s; written to %s",
    config.rounds,
    time.monotonic() - started,
    out,
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


def _load(utterances: Sequence[Utterance], must_align: bool) -> ExampleSet:
  return load_examples(
    utterances, CharacterVocabulary(), _MAX_BAD_FRACTION.value, must_align
  )


def _fingerprint(
  settings: Any,
  model_files: Sequence[str],
  train: Sequence[Utterance],
) -> str:
  """Tells this run's checkpoints from those of any other."""
  what = [
    settings,
    [sha256(path) for path in model_files],
    [(u.id, u.transcript, os.path.getsize(u.audio_path)) for u in train],
  ]
  return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
  """JSON has no infinity: None stands for no bound."""
  return {k: v if math.isfinite(v) else None for k, v in values.items()}


def _rates(rates: Mapping[str, float]) -> str:
  return ", ".join(f"{name} {rate:.3f}" for name, rate in rates.items())


if __name__ == "__main__":
  entry_point.run(main)

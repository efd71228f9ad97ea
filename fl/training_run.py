"""A run of federated training: rounds, plan after plan, and its artifact."""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from fl.checkpoints import Checkpoints
from fl.data.cohorts import TieredSampler, tiered_sampler
from fl.dropout.plan import DropoutPlan
from fl.dropout.refresh import phase_ends, refreshed_plan
from fl.dropout.selection import unit_selection
from fl.dropout.tier_file import tier_of_clients
from fl.dropout.tiers import Tiers
from fl.dropout.unit_order import write_unit_order
from fl.evaluation import Evaluation, set_weights
from fl.importance.churn import Churn, mean_churn
from fl.importance.probes import parts_of
from fl.privacy.ledger import PrivacyLedger
from fl.program import FederatedProgram
from fl.round_log import RoundLog
from fl.runtime.local import local_runtime
from fl.runtime.remote import remote_runtime
from fl.tier_plans import keep_rates, mean_sizes, tier_sizes
from fl.training_recipe import (
  CLIENT_AUGMENT,
  SERVER_AUGMENT,
  build_process,
  build_rehearsal,
)
from fl.training_settings import TrainingSettings
from fl.training_speech import TrainingSpeech
from fl.training_start import TrainingStart
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.model_file import save_model
from lingvo_lite.stage.files import write_json
from lingvo_lite.stage.manifest import sha256, write_manifest

_Rates = dict[str, float]


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
  """What came of a run.

  Attributes:
    model: with the weights that ship.
    rows: what each round reports.
    phases: the tiers' plans, of each refresh.
    server_params: of the server's model.
    sizes: what the clients of each tier got and sent.
    before: error rates of unheard speakers as it began, by domain.
    after: the same at the end.
    levels_before: the same of each level of a ladder.
    levels_after: the same at the end.
    speakers: quantiles over speakers, at the end.
    checkpoints: that are of no use once the artifact is written.
  """

  model: tf.keras.Model
  rows: list[dict[str, Any]]
  phases: list[list[DropoutPlan]]
  server_params: int
  sizes: list[dict[str, Any]]
  before: _Rates
  after: _Rates
  levels_before: dict[str, _Rates]
  levels_after: dict[str, _Rates]
  speakers: dict[str, _Rates]
  checkpoints: Checkpoints


def train(
  settings: TrainingSettings, start: TrainingStart, speech: TrainingSpeech
) -> Trained:
  """Runs the rounds; stopped and called again, it goes on.

  Args:
    settings: of the run.
    start: what it begins with.
    speech: what it hears.

  Raises:
    InputError: settings do not go together, or rounds keep failing.
  """
  config = settings.config
  of_client = tier_of_clients(settings.tiers, speech.data.speakers, config.seed)
  sampler = tiered_sampler(
    speech.data.utterances,
    of_client,
    [tier.cohort for tier in settings.tiers],
    config.seed,
    settings.cohort_sampling,
  )
  checkpoints = _checkpoints(settings, start, speech, sampler)
  ledger = PrivacyLedger(
    settings.aggregation.privacy,
    # There are no several tiers then.
    sampler.samplers[0].probability
    if settings.cohort_sampling == "poisson"
    else None,
  )
  churn = Churn(start.specs, parts_of(start.model_config))

  def observe(old: np.ndarray, new: np.ndarray) -> dict[str, Any]:
    return {"churn": churn.relative(old, new)}

  phases = [start.plans]
  ends = phase_ends(config.rounds, config.refresh_every)
  runtime = (
    remote_runtime(settings.workers) if settings.workers else local_runtime()
  )
  with runtime:
    for end in ends:
      plans = phases[-1]
      tiers = _tiers(settings, start, plans, of_client)
      # The process comes before the models used here: building it makes
      # earlier Keras models unusable.
      process = build_process(
        config,
        plans,
        start.model_config,
        tiers,
        start.specs,
        speech.data,
        settings.aggregation,
        settings.faults,
        start.form,
      )
      model = build_ctc_model(start.model_config)
      held_out = Evaluation(
        model, speech.held_out_set.examples, "held_out", start.shipped
      )
      unheard = Evaluation(
        model, speech.unheard_set.examples, "eval", start.shipped
      )
      if end == ends[0]:
        before = unheard.measure(start.weights)
        levels_before = _levels(start, unheard, start.weights)
        _log_rates("before", before, levels_before)
      sizes = tier_sizes(settings.tiers, process)
      _log_sizes(sizes, tiers.server_params)
      program = FederatedProgram(
        process,
        speech.data,
        dataclasses.replace(config, rounds=end),
        sampler,
        checkpoints,
        settings.policy,
        settings.faults,
        rehearsal=build_rehearsal(
          config, plans, start.model_config, speech.public_set, start.form
        ),
        ledger=ledger if settings.aggregation.privacy.is_private else None,
        report=RoundLog(
          settings.workdir, keep_rates(settings.tiers, plans)
        ).write,
      )
      weights, rows = program.run(
        start.weights, held_out.measure_with_speakers, observe
      )
      if end < config.rounds:
        moved = mean_churn(
          [row["churn"] for row in rows[end - config.refresh_every : end]]
        )
        phases.append(_refreshed(settings, start, phases, moved))
  after = unheard.measure_with_speakers(weights)
  speakers = {
    **held_out.measure_with_speakers(weights)["speakers"],
    **after.pop("speakers"),
  }
  levels_after = _levels(start, unheard, weights)
  _log_rates("after", after, levels_after)
  # What was measured is what is exported.
  set_weights(model, start.shipped(weights) if start.shipped else weights)
  return Trained(
    model=model,
    rows=rows,
    phases=phases,
    server_params=tiers.server_params,
    sizes=sizes,
    before=before,
    after=after,
    levels_before=levels_before,
    levels_after=levels_after,
    speakers=speakers,
    checkpoints=checkpoints,
  )


def write_trained(
  settings: TrainingSettings,
  start: TrainingStart,
  speech: TrainingSpeech,
  trained: Trained,
  seconds: float,
) -> None:
  """Writes the artifact, and removes the checkpoints.

  Args:
    settings: of the run.
    start: what it began with.
    speech: what it heard.
    trained: what came of it.
    seconds: that it took.
  """
  out = settings.out
  if start.form:
    outputs = start.form.save(trained.model, start.model_config, out)
  else:
    outputs = [os.path.join(out, "model.keras")]
    save_model(trained.model, start.model_config, outputs[0])
  curve_path = os.path.join(out, "training.json")
  write_json(
    curve_path,
    {
      "schema_version": 1,
      "before": trained.before,
      "after": trained.after,
      "speakers": trained.speakers,
      "rows": trained.rows,
    },
  )
  order_path = os.path.join(out, "unit_order.json")
  write_unit_order(order_path, start.order)
  tiers = settings.tiers
  write_manifest(
    out,
    stage="federated",
    config={
      **dataclasses.asdict(settings.config),
      "round_policy": _finite(dataclasses.asdict(settings.policy)),
      "faults": dataclasses.asdict(settings.faults),
      "aggregation": dataclasses.asdict(settings.aggregation),
      "cohort_sampling": settings.cohort_sampling,
      "tiers": [
        {"name": tier.name, "cohort": tier.cohort, "share": tier.share}
        for tier in tiers
      ],
      "model": start.model_config.to_dict(),
      "keep_rates": [keep_rates(tiers, plans) for plans in trained.phases],
      "client_augment": dataclasses.asdict(CLIENT_AUGMENT),
      "server_augment": dataclasses.asdict(SERVER_AUGMENT),
      "max_bad_fraction": settings.max_bad_fraction,
    },
    seed=settings.config.seed,
    inputs=[
      *start.model_paths,
      *([settings.tiers_path] if settings.tiers_path else []),
      *(tier.plan_path for tier in tiers if tier.plan_path),
      *(one.audio_path for one in speech.used),
    ],
    outputs=[*outputs, curve_path, order_path],
    seconds=seconds,
    metrics={
      "clients": len(speech.data),
      "train_utterances": len(speech.train_set.examples),
      "server_params": trained.server_params,
      # The mean over a round's clients, where tiers differ.
      **mean_sizes(trained.sizes),
      "tiers": trained.sizes,
      "before": trained.before,
      "after": trained.after,
      "levels_before": trained.levels_before,
      "levels_after": trained.levels_after,
    },
    skipped_utterances=speech.skipped,
  )
  trained.checkpoints.remove()


def _tiers(
  settings: TrainingSettings,
  start: TrainingStart,
  plans: Sequence[DropoutPlan],
  of_client: tuple[int, ...],
) -> Tiers:
  """Says which units each client gets."""
  return Tiers(
    tuple(tier.name for tier in settings.tiers),
    tuple(
      unit_selection(
        settings.config.mask_scope,
        plan.sub_model(start.specs, start.groups),
        settings.config.seed,
        start.order,
      )
      for plan in plans
    ),
    of_client,
  )


def _refreshed(
  settings: TrainingSettings,
  start: TrainingStart,
  phases: Sequence[Sequence[DropoutPlan]],
  moved: Mapping[str, float],
) -> list[DropoutPlan]:
  """Returns the plans that go on from the newest, at the sizes of the first.

  Args:
    settings: of the run.
    start: what it began with.
    phases: the tiers' plans so far.
    moved: how far each part of the model moved since the newest.
  """
  return [
    refreshed_plan(
      plan,
      first.client_params,
      start.specs,
      start.groups,
      moved,
      settings.config.refresh_hysteresis,
    )
    for plan, first in zip(phases[-1], phases[0], strict=True)
  ]


def _levels(
  start: TrainingStart, evaluation: Evaluation, weights: np.ndarray
) -> dict[str, _Rates]:
  """Returns the error rates of each level of a ladder; none: no ladder."""
  if start.ladder is None:
    return {}
  return start.ladder.measure_levels(weights, start.specs, evaluation.measure)


def _log_rates(when: str, rates: _Rates, levels: Mapping[str, _Rates]) -> None:
  logging.info("%s: %s", when, _in_words(rates))
  for name, of_level in levels.items():
    logging.info("%s, %s: %s", when, name, _in_words(of_level))


def _log_sizes(sizes: Sequence[Mapping[str, Any]], server_params: int) -> None:
  for size in sizes:
    logging.info(
      "%s: %d clients, %d a round; each gets %.1f%% of the model: %.2f MB"
      " down and %.2f MB up",
      size["name"],
      size["clients"],
      size["cohort"],
      100 * size["client_params"] / server_params,
      size["download_bytes_per_client"] / 1e6,
      size["upload_bytes_per_client"] / 1e6,
    )


def _checkpoints(
  settings: TrainingSettings,
  start: TrainingStart,
  speech: TrainingSpeech,
  sampler: TieredSampler,
) -> Checkpoints:
  """Returns this run's checkpoints, told from those of any other."""
  what = [
    [
      dataclasses.asdict(settings.config),
      dataclasses.asdict(settings.policy),
      dataclasses.asdict(settings.faults),
      dataclasses.asdict(settings.aggregation),
      dataclasses.asdict(sampler),
      [dataclasses.asdict(plan) for plan in start.plans],
    ],
    [sha256(path) for path in start.model_paths],
    [
      (u.id, u.transcript, os.path.getsize(u.audio_path))
      for u in speech.train + speech.public
    ],
  ]
  return Checkpoints(
    os.path.join(settings.workdir, "checkpoints"),
    hashlib.sha256(json.dumps(what).encode()).hexdigest(),
  )


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
  """JSON has no infinity: None stands for no bound."""
  return {k: v if math.isfinite(v) else None for k, v in values.items()}


def _in_words(rates: Mapping[str, float]) -> str:
  return ", ".join(f"{name} {rate:.3f}" for name, rate in rates.items())

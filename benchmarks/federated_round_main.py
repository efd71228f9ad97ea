"""How long a round of federated training takes, and how much memory.

  ./bazelw run //benchmarks:federated_round

The same client steps are run by a plain `tf.function` loop, which is the limit;
by this project; and by TFF's `build_weighted_fed_avg` with its defaults.
Measurements of the three take turns, and medians are compared. Each row is kept
in --out and not made again. Written to --result: federated_round.json.
"""

from lingvo_lite.stage import entry_point

import collections  # noqa: I001
import functools
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import psutil
import tensorflow as tf
import tensorflow_federated as tff
from absl import flags, logging

from benchmarks.federated_systems import (
  Round,
  ours,
  plain_loop,
  random_clients,
  stock,
)
from benchmarks.result_file import Claim, write_result
from fl.dropout.selection import RandomUnits
from fl.dropout.sub_model import SubModel, variable_specs
from fl.processes.client_work import LocalTraining
from fl.processes.compose import build_federated_process
from fl.runtime.local import local_runtime
from fl.runtime.worker import Worker
from lingvo_lite.models.presets import PRESETS
from lingvo_lite.stage.files import read_json, write_json

_OUT = flags.DEFINE_string(
  "out",
  None,
  "Folder for the rows made so far. Left out:"
  " lingvo_lite_runs/benchmarks/federated_round.",
)
_RESULT = flags.DEFINE_string(
  "result",
  "benchmarks/results/federated_round.json",
  "The file for the figures.",
)
_PRESET = flags.DEFINE_enum("preset", "tiny", PRESETS, "The model's size.")
_COHORTS = flags.DEFINE_list("cohorts", ["4", "16", "64"], "Clients a round.")
_STEPS = flags.DEFINE_integer("steps", 8, "Local steps of a client.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 4, "Utterances a step.")
_FRAMES = flags.DEFINE_integer("frames", 160, "Frames an utterance, of 10 ms.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Rounds measured of each kind.")
_MEMORY_ROUNDS = flags.DEFINE_integer(
  "memory_rounds", 200, "Rounds over which memory is watched."
)

_SYSTEMS: dict[str, Callable[..., Round]] = {
  "ours": ours,
  "stock": stock,
  # Last: building the others makes its Keras model unusable.
  "plain": plain_loop,
}
_COMPARED_COHORT = 16
_WARM_UP_ROUNDS = 20


def main(argv: Sequence[str]) -> None:
  """Measures and writes the result."""
  del argv
  out = (
    entry_point.user_path(_OUT.value)
    if _OUT.value
    else entry_point.default_folder("benchmarks", "federated_round")
  )
  cohorts = [int(cohort) for cohort in _COHORTS.value]
  config = {
    "preset": _PRESET.value,
    "steps": _STEPS.value,
    "batch_size": _BATCH_SIZE.value,
    "frames": _FRAMES.value,
    "repeats": _REPEATS.value,
    "memory_rounds": _MEMORY_ROUNDS.value,
  }
  rows: list[dict[str, Any]] = []
  with local_runtime() as worker:
    for cohort in cohorts:
      rows += _kept(
        os.path.join(out, f"cohort_{cohort}.json"),
        config,
        functools.partial(_compare, cohort, worker),
      )
    rows += _kept(
      os.path.join(out, "memory.json"), config, lambda: [_watch_memory(worker)]
    )
  write_result(
    entry_point.user_path(_RESULT.value),
    config=config,
    seconds=sum(row["measured_in_s"] for row in rows),
    rows=rows,
    claims=_claims(rows),
  )
  logging.info("written to %s", entry_point.user_path(_RESULT.value))


def _kept(
  path: str, config: dict[str, Any], make: Callable[[], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
  """Returns rows from a file of the same configuration, or makes them."""
  if os.path.exists(path):
    kept = read_json(path, "rows of this benchmark")
    if kept.get("config") == config:
      return kept["rows"]
  rows = make()
  write_json(path, {"schema_version": 1, "config": config, "rows": rows})
  return rows


def _compare(cohort: int, worker: Worker) -> list[dict[str, Any]]:
  """Measures rounds of all systems, taking turns."""
  began = time.monotonic()
  clients = random_clients(
    cohort, _STEPS.value, _BATCH_SIZE.value, _FRAMES.value
  )
  model = PRESETS[_PRESET.value]
  rounds, first_s, since_start_s = {}, {}, {}
  for name, build in _SYSTEMS.items():
    started = time.monotonic()
    rounds[name] = build(model, clients)
    rounds[name]()
    first_s[name] = time.monotonic() - started
    since_start_s[name] = time.time() - psutil.Process().create_time()
    logging.info(
      "%s, %d clients: first round after %.1f s", name, cohort, first_s[name]
    )
  seconds = collections.defaultdict(list)
  peak = dict.fromkeys(_SYSTEMS, 0)
  for _ in range(_REPEATS.value):
    for name, run_round in rounds.items():
      started = time.monotonic()
      run_round()
      seconds[name].append(time.monotonic() - started)
      peak[name] = max(peak[name], _resident_bytes(worker))
  return [
    {
      "system": name,
      "cohort": cohort,
      "round_s": statistics.median(seconds[name]),
      "rounds_s": [round(value, 3) for value in seconds[name]],
      "rounds_a_minute": 60 / statistics.median(seconds[name]),
      "client_s": statistics.median(seconds[name]) / cohort,
      "first_round_s": first_s[name],
      "since_program_start_s": since_start_s[name],
      "resident_bytes_all_systems": peak[name],
      "measured_in_s": (time.monotonic() - began) / len(_SYSTEMS),
    }
    for name in _SYSTEMS
  ]


def _watch_memory(worker: Worker) -> dict[str, Any]:
  """Fits a line through the memory of many rounds of a tiny model."""
  began = time.monotonic()

  def build() -> tf.keras.Model:
    inputs = tf.keras.Input([80])
    hidden = tf.keras.layers.Dense(64, activation="relu", name="hidden")(inputs)
    outputs = tf.keras.layers.Dense(1, name="out")(hidden)
    return tf.keras.Model(inputs, outputs)

  specs = variable_specs(build())
  spec = collections.OrderedDict(x=tf.TensorSpec([None, 80], tf.float32))
  process = build_federated_process(
    specs,
    RandomUnits(SubModel(specs, [], {}), 0, "client"),
    LocalTraining(
      build,
      lambda model, batch: tf.reduce_mean(tf.square(model(batch["x"]) - 1.0)),
      tff.learning.optimizers.build_adam(1e-3),
      lambda round_number: tf.constant(1e-3),
      clip_norm=1.0,
      seed=0,
    ),
    spec,
    4,
    tff.learning.optimizers.build_adam(1e-3),
    lambda round_number: tf.constant(1e-3),
  )
  state = process.initialize()
  draw = np.random.default_rng(0)
  resident = []
  for _ in range(_WARM_UP_ROUNDS + _MEMORY_ROUNDS.value):
    # Other amounts of data each round, as in a real run.
    clients = [
      collections.OrderedDict(
        client=np.array([number], np.int32),
        batches=tf.data.Dataset.from_tensor_slices(
          collections.OrderedDict(
            x=draw.normal(size=[draw.integers(8, 64), 80]).astype("f4")
          )
        ).batch(4),
      )
      for number in range(4)
    ]
    state = process.next(state, clients).state
    resident.append(_resident_bytes(worker))
  watched = np.array(resident[_WARM_UP_ROUNDS:]) / 1e6
  slope, _ = np.polyfit(np.arange(len(watched)), watched, 1)
  return {
    "system": "ours",
    "rounds": _MEMORY_ROUNDS.value,
    "mb_a_round": float(slope),
    "first_mb": float(watched[0]),
    "last_mb": float(watched[-1]),
    "measured_in_s": time.monotonic() - began,
  }


def _resident_bytes(worker: Worker) -> int:
  """What trainer and worker hold together."""
  return sum(
    process.memory_info().rss
    for process in (psutil.Process(), psutil.Process(worker.pid))
  )


def _claims(rows: Sequence[dict[str, Any]]) -> list[Claim]:
  at = {
    row["system"]: row for row in rows if row.get("cohort") == _COMPARED_COHORT
  }

  def ratio(one: str, other: str) -> float | None:
    if not {one, other} <= at.keys():
      return None
    return at[one]["round_s"] / at[other]["round_s"]

  slopes = [row["mb_a_round"] for row in rows if "mb_a_round" in row]
  firsts = [
    row["since_program_start_s"]
    for row in rows
    if row["system"] == "ours" and "since_program_start_s" in row
  ]
  what = f"{_COMPARED_COHORT} clients x {_STEPS.value} steps of {_PRESET.value}"
  return [
    Claim(f"round time, ours to a plain loop, {what}", ratio("ours", "plain"),
          "<= 1.3"),
    Claim(f"round time, ours to TFF's stock default, {what}",
          ratio("ours", "stock"), "<= 0.4"),
    Claim("seconds from the program's start to the end of the first round",
          min(firsts, default=None), "<= 40"),
    Claim(f"MB a round that memory grows over {_MEMORY_ROUNDS.value} rounds",
          slopes[0] if slopes else None, "<= 1"),
  ]  # fmt: skip


if __name__ == "__main__":
  entry_point.run(main)

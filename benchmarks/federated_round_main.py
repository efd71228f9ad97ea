"""How long a round of federated training takes, and how much memory.

  ./bazelw run //benchmarks:federated_round [-- --quick]

The same client steps are run by plain loops, which are the limit; by this
project; by TFF's `build_weighted_fed_avg` with its defaults; and by Flower and
pfl-research, in environments that are made from locked requirements, and left
out with a line that says why where they cannot be. Each system is a process of
its own; their rounds take turns, and medians are compared. Then this project's
rounds on one and two workers, its memory over many rounds, and how long
`//fl:train` takes to its first round on the default corpus. Each part is kept
in --out and not made again. Written to --result: federated_round.json.
"""

from lingvo_lite.stage import entry_point

import contextlib  # noqa: I001
import functools
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags, logging

from benchmarks.federated_round_claims import (
  COMPARED_COHORT,
  federated_round_claims,
)
from benchmarks.first_round import first_round_s
from benchmarks.peer_environment import NoEnvironmentError, peer_python
from benchmarks.result_file import write_result
from benchmarks.round_process import RoundProcess, SystemFailedError
from benchmarks.round_time import RoundTime
from benchmarks.systems.workload import Workload
from lingvo_lite.data.default_corpus import find_corpus
from lingvo_lite.models.presets import PRESETS
from lingvo_lite.stage.files import read_json, write_json

_OUT = flags.DEFINE_string(
  "out",
  None,
  "Folder for the rows made so far and for the other systems' environments."
  " Left out: lingvo_lite_runs/benchmarks/federated_round.",
)
_RESULT = flags.DEFINE_string(
  "result",
  "benchmarks/results/federated_round.json",
  "The file for the figures.",
)
_PRESET = flags.DEFINE_enum("preset", "tiny", PRESETS, "The model's size.")
_QUICK = flags.DEFINE_bool(
  "quick", False, "Few clients, steps and rounds, to see that all of it works."
)

Row = dict[str, Any]
_PLAIN = "benchmarks.systems.plain"
_TFF = "benchmarks.systems.tff_rounds"
_SYSTEMS = {
  "ours": [_TFF, "ours"],
  "plain": [_PLAIN, "graph"],
  "plain_threads": [_PLAIN, "threads"],
  "stock": [_TFF, "stock"],
}
# In environments of their own.
_PEERS = {
  "flower": "benchmarks.systems.flower",
  "pfl_research": "benchmarks.systems.pfl_research",
}
_BATCH_SIZE = 4
_FRAMES = 160
_WATCHED_CLIENTS = 4
_PREDICTED_WORKERS = (4, 8, 16)
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main(argv: Sequence[str]) -> None:
  """Measures and writes the result."""
  del argv
  out = (
    entry_point.user_path(_OUT.value)
    if _OUT.value
    else entry_point.default_folder("benchmarks", "federated_round")
  )
  quick = _QUICK.value
  config = {
    "preset": _PRESET.value,
    "cohorts": [2, COMPARED_COHORT] if quick else [4, COMPARED_COHORT, 64],
    "steps": 1 if quick else 8,
    "batch_size": _BATCH_SIZE,
    "frames": 32 if quick else _FRAMES,
    # Of each cohort: a round of the largest takes minutes in some systems.
    "repeats": [2, 2] if quick else [5, 5, 3],
    "workers": [1, 2],
    "memory_warm_up_rounds": 2 if quick else 20,
    "memory_rounds": 6 if quick else 200,
    "quick": quick,
  }
  bench = _Bench(config, os.path.join(out, "quick" if quick else "full"))
  commands, rows = _commands(os.path.join(out, "environments"))
  turns = list(zip(config["cohorts"], config["repeats"], strict=True))
  for cohort, repeats in turns:
    rows += bench.kept(
      f"cohort_{cohort}",
      functools.partial(bench.compare, commands, cohort, repeats, "round"),
    )
  on_workers = {
    f"ours_{count}": [sys.executable, "-m", _TFF, "ours", str(count)]
    for count in config["workers"]
  }
  # The largest cohort would take as long as all the others together.
  for cohort, repeats in turns[:2]:
    rows += bench.kept(
      f"workers_{cohort}",
      functools.partial(bench.compare, on_workers, cohort, repeats, "workers"),
    )
  rows += _round_time(rows)
  rows += bench.kept("memory", lambda: [bench.watch_memory()])
  rows += bench.kept("program", lambda: [bench.start_program()])
  write_result(
    entry_point.user_path(_RESULT.value),
    config=config,
    seconds=sum(row.get("measured_in_s", 0.0) for row in rows),
    rows=rows,
    claims=federated_round_claims(
      rows,
      f"{COMPARED_COHORT} clients x {config['steps']} steps of"
      f" {config['preset']}",
    ),
  )
  logging.info("written to %s", entry_point.user_path(_RESULT.value))


def _commands(folder: str) -> tuple[dict[str, list[str]], list[Row]]:
  """Returns how to start each system, and rows that say which cannot be."""
  commands = {
    name: [sys.executable, "-m", *arguments]
    for name, arguments in _SYSTEMS.items()
  }
  rows: list[Row] = []
  for name, module in _PEERS.items():
    lock = os.path.join(
      _ROOT, "benchmarks", "systems", "environments", f"{name}_lock.txt"
    )
    try:
      python = peer_python(_ROOT, lock, os.path.join(folder, name))
    except NoEnvironmentError as error:
      logging.warning("without %s: %s", name, error)
      rows.append({"kind": "skipped", "system": name, "reason": str(error)})
    else:
      commands[name] = [python, "-m", module]
  return commands, rows


class _Bench:
  """Measures, and keeps what it measured.

  Args:
    config: of the benchmark.
    folder: for the rows and the systems' output.
  """

  def __init__(self, config: dict[str, Any], folder: str) -> None:
    self._config = config
    self._folder = folder
    os.makedirs(folder, exist_ok=True)

  def kept(self, name: str, make: Callable[[], list[Row]]) -> list[Row]:
    """Returns rows from a file of the same configuration, or makes them."""
    path = os.path.join(self._folder, f"{name}.json")
    if os.path.exists(path):
      kept = read_json(path, "rows of this benchmark")
      if kept.get("config") == self._config:
        return kept["rows"]
    rows = make()
    write_json(
      path, {"schema_version": 1, "config": self._config, "rows": rows}
    )
    return rows

  def compare(
    self,
    commands: Mapping[str, Sequence[str]],
    cohort: int,
    repeats: int,
    kind: str,
  ) -> list[Row]:
    """Measures rounds of all systems, taking turns.

    Args:
      commands: how each is started.
      cohort: clients a round.
      repeats: rounds of each.
      kind: of the rows.
    """
    began = time.monotonic()
    workload = Workload(
      self._config["preset"],
      cohort,
      self._config["steps"],
      self._config["batch_size"],
      self._config["frames"],
    )
    with contextlib.ExitStack() as stack:
      systems: dict[str, RoundProcess] = {}
      rows: list[Row] = []
      for name, command in commands.items():
        system = self._start(f"{name}_{cohort}", command, workload)
        stack.callback(system.close)
        try:
          system.run_round()
        except SystemFailedError as error:
          logging.warning("without %s: %s", name, error)
          rows.append({"kind": "skipped", "system": name, "reason": str(error)})
          continue
        systems[name] = system
        rows.append(
          {
            "kind": kind,
            "system": name,
            "cohort": cohort,
            "first_round_s": system.seconds_since_start,
          }
        )
        logging.info(
          "%s, %d clients: first round after %.1f s", name, cohort,
          system.seconds_since_start,
        )  # fmt: skip
      seconds: dict[str, list[float]] = {name: [] for name in systems}
      load = os.getloadavg()[0]
      for _ in range(repeats):
        for name, system in systems.items():
          seconds[name].append(system.run_round())
      for row in rows:
        if row["kind"] == "skipped":
          continue
        system, measured = systems[row["system"]], seconds[row["system"]]
        system.run_round(watch_memory=True)
        median = statistics.median(measured)
        row |= {
          "round_s": median,
          "rounds_s": [round(value, 3) for value in measured],
          "rounds_a_minute": 60 / median,
          "client_s": median / cohort,
          "peak_resident_bytes": system.peak_resident_bytes,
          "load_average_before": load,
          "measured_in_s": (time.monotonic() - began) / len(systems),
        }
    return rows

  def watch_memory(self) -> Row:
    """Fits a line through the memory of many rounds."""
    began = time.monotonic()
    workload = Workload(self._config["preset"], _WATCHED_CLIENTS, 1, 1, 32)
    system = self._start(
      "memory", [sys.executable, "-m", _TFF, "watched"], workload
    )
    with contextlib.closing(system):
      resident = []
      for _ in range(
        self._config["memory_warm_up_rounds"] + self._config["memory_rounds"]
      ):
        system.run_round()
        resident.append(system.resident_bytes() / 1e6)
    watched = np.array(resident[self._config["memory_warm_up_rounds"] :])
    slope, _ = np.polyfit(np.arange(len(watched)), watched, 1)
    return {
      "kind": "memory",
      "system": "ours",
      "rounds": len(watched),
      "mb_a_round": float(slope),
      "resident_mb": [round(value) for value in resident],
      "measured_in_s": time.monotonic() - began,
    }

  def start_program(self) -> Row:
    """Times `//fl:train` to its first round, at its default settings."""
    seconds = first_round_s(
      os.path.join(_ROOT, "lingvo_lite", "pretrained", "tiny"),
      # Unpacked before the clock runs.
      find_corpus(None),
      _ROOT,
      os.path.join(self._folder, "program.log"),
    )
    return {
      "kind": "program",
      "first_round_s": seconds,
      "measured_in_s": seconds,
    }

  def _start(
    self, name: str, command: Sequence[str], workload: Workload
  ) -> RoundProcess:
    log = os.path.join(self._folder, f"{name}.log")
    return RoundProcess(command, workload, _ROOT, log)


def _round_time(rows: Sequence[Row]) -> list[Row]:
  """Fits the model of round time to what was measured, and uses it."""
  measured = [row for row in rows if row["kind"] == "workers"]
  clients = [row["cohort"] for row in measured]
  workers = [int(row["system"].rpartition("_")[2]) for row in measured]
  if not measured:
    return []
  model = RoundTime.fit(clients, workers, [row["round_s"] for row in measured])
  errors = [
    abs(model.predict(c, w) / row["round_s"] - 1)
    for c, w, row in zip(clients, workers, measured, strict=True)
  ]
  return [
    {
      "kind": "round_time",
      "fixed_s": model.fixed_s,
      "each_s": model.each_s,
      "client_s": model.client_s,
      "largest_relative_error": max(errors),
      "predicted": [
        {"cohort": c, "workers": w, "round_s": model.predict(c, w)}
        for c in sorted(set(clients))
        for w in _PREDICTED_WORKERS
      ],
    }
  ]


if __name__ == "__main__":
  entry_point.run(main)

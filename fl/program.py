"""The rounds of federated training, resumable at any of them."""

import collections
import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import grpc
import numpy as np
import tqdm
from absl import logging

from fl.checkpoints import Checkpoints, Progress, Row
from fl.data.client_data import ClientData
from fl.faults.fault_lab import FaultConfig
from fl.faults.round_policy import RoundPolicy
from fl.federated_config import FederatedConfig
from fl.processes.compose import FederatedProcess
from fl.processes.messages import Rejections
from fl.rehearsal import Rehearsal
from fl.runtime.errors import WorkerLostError
from fl.runtime.heap import give_back_freed_memory
from lingvo_lite.stage.errors import InputError

_CHECKPOINT_EVERY = 5
# What a row counts over all attempts at its round.
_LOSSES = (
  "rejected_clients",
  *(f"rejected_{name}" for name in Rejections._fields),
  "failed_attempts",
  "dropped_clients",
  "late_clients",
  "discarded_clients",
)


class Ledger(Protocol):
  """Knows what the rounds so far have cost in privacy."""

  def epsilon(self, rounds: int, participations: np.ndarray) -> float:
    """Returns epsilon at the run's delta, after so many rounds."""


class Sampler(Protocol):
  """Draws cohorts; see `fl/data/cohorts.py`."""

  def draw(self, round_number: int, attempt: int = 0) -> list[int]:
    """Returns client numbers, from a round's and an attempt's, from 0."""


class FederatedProgram:
  """Runs a federated process round by round.

  A run that was stopped, however, goes on from its last checkpoint and ends
  with the same result as one that was not. A round that fails is tried again
  with other clients.

  Args:
    process: what a round does.
    data: the clients' speech.
    config: how many rounds.
    sampler: who takes part in them.
    checkpoints: where the progress is kept.
    policy: how much of a round may be lost.
    faults: which clients drop out or are slow, on purpose.
    rehearsal: what the server does after each round; None: nothing.
    ledger: of differential privacy, if there is any.
    report: called with each round's row once it is complete; a run that goes on
      after a kill calls it again for the rounds since its checkpoint.
  """

  def __init__(
    self,
    process: FederatedProcess,
    data: ClientData,
    config: FederatedConfig,
    sampler: Sampler,
    checkpoints: Checkpoints,
    policy: RoundPolicy = RoundPolicy(),
    faults: FaultConfig = FaultConfig(),
    rehearsal: Rehearsal | None = None,
    ledger: Ledger | None = None,
    report: Callable[[Row], None] = lambda row: None,
  ) -> None:
    self._process = process
    self._data = data
    self._config = config
    self._sampler = sampler
    self._checkpoints = checkpoints
    self._policy = policy
    self._faults = faults
    self._rehearsal = rehearsal
    self._ledger = ledger
    self._report = report

  def run(
    self,
    initial_weights: np.ndarray,
    evaluate: Callable[[np.ndarray], Mapping[str, Any]],
    observe: Callable[[np.ndarray, np.ndarray], Row] = lambda old, new: {},
  ) -> tuple[np.ndarray, list[Row]]:
    """Runs all rounds that are not done yet.

    An interrupt (Ctrl-C) ends the round at work, keeps its result and then
    raises KeyboardInterrupt; a second one does not wait.

    Args:
      initial_weights: float32[P].
      evaluate: measures weights, float32[P], every few rounds.
      observe: given the weights before and after each round, returns what its
        row says about them.

    Returns:
      The trained weights, float32[P], and a row for each round.

    Raises:
      InputError: a round failed as often as the policy allows.
    """
    start = self._process.initialize()._replace(
      global_model_weights=np.asarray(initial_weights, np.float32)
    )
    progress = self._checkpoints.load(start) or Progress(
      start, [], np.zeros(len(self._data), np.int64)
    )
    saved = len(progress.rows)
    with (
      _interrupt_noted() as interrupted,
      tqdm.tqdm(
        total=self._config.rounds,
        initial=saved,
        desc="federated rounds",
        unit="round",
      ) as bar,
    ):
      while len(progress.rows) < self._config.rounds:
        try:
          progress = self._round(progress, evaluate, observe)
        except InputError:
          self._checkpoints.save(progress)
          raise
        done, row = len(progress.rows), progress.rows[-1]
        # Before the checkpoint: if the program is killed between the two, the
        # round is done and reported again. The other way round, nobody would.
        self._report(row)
        if (
          done - saved >= _CHECKPOINT_EVERY
          or done == self._config.rounds
          or interrupted
        ):
          self._checkpoints.save(progress)
          saved = done
        give_back_freed_memory()
        bar.set_postfix_str(_summary(row))
        bar.update()
        if interrupted and done < self._config.rounds:
          raise KeyboardInterrupt
    return progress.state.global_model_weights, progress.rows

  def _round(
    self,
    progress: Progress,
    evaluate: Callable[[np.ndarray], Mapping[str, Any]],
    observe: Callable[[np.ndarray, np.ndarray], Row],
  ) -> Progress:
    """Runs a round, as often as it takes within the policy."""
    started = time.monotonic()
    number = len(progress.rows)
    lost = collections.Counter(dict.fromkeys(_LOSSES, 0))
    for attempt in range(self._policy.max_attempts):
      cohort, client_seconds = self._answering(number, attempt, lost)
      why, good = None, len(cohort)
      if good >= self._policy.min_clients:
        participations = progress.participations.copy()
        try:
          output = self._process.next(
            progress.state, self._clients(cohort, participations)
          )
        except (grpc.RpcError, WorkerLostError) as error:
          why = f"the computation crashed ({_one_line(error)})"
        else:
          rejected = _rejected(output.metrics)
          lost.update(rejected)
          good -= rejected["rejected_clients"]
          if good >= self._policy.min_clients:
            row = self._row(number, cohort, good, output.metrics, lost)
            row["client_seconds"] = round(client_seconds, 3)
            state = self._rehearse(output.state, row)
            row.update(
              observe(
                progress.state.global_model_weights, state.global_model_weights
              )
            )
            if (number + 1) % self._config.evaluate_every == 0:
              row.update(evaluate(state.global_model_weights))
            if self._ledger is not None:
              row["epsilon"] = self._ledger.epsilon(number + 1, participations)
            row["seconds"] = round(time.monotonic() - started, 3)
            return Progress(state, [*progress.rows, row], participations)
          why = f"{rejected['rejected_clients']} updates were turned down"
      lost["failed_attempts"] += 1
      lost["discarded_clients"] += good
      logging.warning(
        "round %d, attempt %d: %s",
        number + 1,
        attempt + 1,
        why or f"{len(cohort)} of its clients answered in time",
      )
    raise InputError(
      f"found round {number + 1} to fail {self._policy.max_attempts} times,"
      f" the last time because {why or 'too few clients answered'}, expected"
      f" {self._policy.min_clients} good updates: allow more --round_attempts,"
      " fewer --min_clients, or mend the clients; the same command goes on from"
      " here"
    )

  def _answering(
    self, number: int, attempt: int, lost: collections.Counter[str]
  ) -> tuple[list[int], float]:
    """Draws a cohort, and counts those who drop out or come late as lost.

    Returns:
      Who is left, and the simulated seconds of their training together.
    """
    answering: list[int] = []
    client_seconds = 0.0
    for client in self._sampler.draw(number, attempt):
      fault = self._faults.fault(number, client, attempt)
      duration_s = self._policy.duration_s(
        self._data.steps(client),
        self._faults.slowdown if fault == "slow" else 1.0,
      )
      if fault == "dropout":
        lost["dropped_clients"] += 1
      elif duration_s > self._policy.deadline_s:
        lost["late_clients"] += 1
      else:
        answering.append(client)
        client_seconds += duration_s
    return answering, client_seconds

  def _clients(
    self, cohort: Sequence[int], participations: np.ndarray
  ) -> list[collections.OrderedDict[str, Any]]:
    """What the process needs of each client; counts them as taking part."""
    clients = []
    for client in cohort:
      clients.append(
        collections.OrderedDict(
          client=np.array([client], np.int32),
          batches=self._data.batches(client, int(participations[client])),
        )
      )
      participations[client] += 1
    return clients

  def _rehearse(self, state: Any, row: Row) -> Any:
    if self._rehearsal is None:
      return state
    weights, row["rehearsal_loss"] = self._rehearsal.after_round(
      state.global_model_weights, row["round"] - 1
    )
    return state._replace(global_model_weights=weights)

  def _row(
    self,
    number: int,
    cohort: Sequence[int],
    good: int,
    metrics: Mapping[str, Any],
    lost: Mapping[str, int],
  ) -> Row:
    work = metrics["client_work"]
    return {
      "round": number + 1,
      # Of nobody there is none.
      **({"loss": float(work["loss"])} if good else {}),
      "seconds": 0.0,
      "clients": good,
      **lost,
      "client_steps": int(work["steps"]),
      **self._traffic(cohort),
      **self._tier_rows(cohort, work),
      **{
        name: float(value)
        for slot in ("aggregator", "finalizer")
        for name, value in metrics[slot].items()
      },
    }

  def _traffic(self, cohort: Sequence[int]) -> dict[str, int]:
    tiers = [self._process.tiers.of_client[client] for client in cohort]
    return {
      "download_bytes": sum(
        self._process.download_bytes_per_client[tier] for tier in tiers
      ),
      "upload_bytes": sum(
        self._process.upload_bytes_per_client[tier] for tier in tiers
      ),
    }

  def _tier_rows(self, cohort: Sequence[int], work: Mapping[str, Any]) -> Row:
    """The same of each tier, where there are several."""
    row: Row = {}
    if "tier_clients" not in work:
      return row
    tiers = self._process.tiers
    for number, name in enumerate(tiers.names):
      members = [c for c in cohort if tiers.of_client[c] == number]
      values: Row = {"clients": int(work["tier_clients"][number])}
      if values["clients"]:
        values["loss"] = float(work["tier_loss"][number])
      values |= self._traffic(members)
      row.update({f"tier_{name}_{k}": v for k, v in values.items()})
    return row


@contextlib.contextmanager
def _interrupt_noted() -> Iterator[list[int]]:
  """Yields a list that is empty until the first interrupt arrives."""
  noted: list[int] = []

  def note(number: int, frame: Any) -> None:
    del frame
    noted.append(number)
    signal.signal(signal.SIGINT, before)
    logging.info("interrupted: ending the round first; once more to stop now")

  before = signal.signal(signal.SIGINT, note)
  try:
    yield noted
  finally:
    signal.signal(signal.SIGINT, before)


def _rejected(metrics: Mapping[str, Any]) -> dict[str, int]:
  """How many updates of an attempt were turned down, and for what."""
  counts = metrics["client_work"]["rejected"]
  why = {
    f"rejected_{name}": int(value)
    for name, value in zip(counts._fields, counts, strict=True)
  }
  return {"rejected_clients": sum(why.values()), **why}


def _one_line(error: Exception) -> str:
  details = error.details() if isinstance(error, grpc.Call) else str(error)
  return " ".join((details or "").split())[:200]


def _summary(row: Row) -> str:
  parts = [f"loss {row['loss']:.3f}" if "loss" in row else "nobody came"]
  parts += [f"{k} {v:.3f}" for k, v in row.items() if k.endswith("_wer")]
  if "epsilon" in row:
    parts.append(f"epsilon {row['epsilon']:.2f}")
  return ", ".join(parts)

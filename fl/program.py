"""The rounds of federated training, resumable at any of them."""

import dataclasses
import json
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm
from absl import logging

from fl.data.client_data import ClientData
from fl.data.cohorts import earlier_rounds, sample_cohort
from fl.federated_config import FederatedConfig
from fl.processes.compose import FederatedProcess
from fl.rehearsal import Rehearsal
from lingvo_lite.stage.files import whole_file

Row = dict[str, Any]
_CHECKPOINT_EVERY = 5


@dataclasses.dataclass(frozen=True)
class Progress:
  """Where a run stands between two rounds.

  Attributes:
    state: of the federated process, in NumPy.
    rows: what each round so far reports.
  """

  state: Any
  rows: list[Row]


class FederatedProgram:
  """Runs a federated process round by round.

  A run that was stopped, however, goes on from its last checkpoint and ends
  with the same result as one that was not.

  Args:
    process: what a round does.
    data: the clients' speech.
    config: how many rounds of how many clients.
    checkpoint_path: where the progress is kept.
    fingerprint: tells runs apart: a checkpoint with another one is not used.
    rehearsal: what the server does after each round; None: nothing.
  """

  def __init__(
    self,
    process: FederatedProcess,
    data: ClientData,
    config: FederatedConfig,
    checkpoint_path: str,
    fingerprint: str,
    rehearsal: Rehearsal | None = None,
  ) -> None:
    self._process = process
    self._data = data
    self._config = config
    self._checkpoint_path = checkpoint_path
    self._fingerprint = fingerprint
    self._rehearsal = rehearsal

  def run(
    self,
    initial_weights: np.ndarray,
    evaluate: Callable[[np.ndarray], Mapping[str, float]],
    observe: Callable[[np.ndarray, np.ndarray], Row] = lambda old, new: {},
  ) -> tuple[np.ndarray, list[Row]]:
    """Runs all rounds that are not done yet.

    Args:
      initial_weights: float32[P].
      evaluate: measures weights, float32[P], every few rounds.
      observe: given the weights before and after each round, returns what its
        row says about them.

    Returns:
      The trained weights, float32[P], and a row for each round.
    """
    progress = self._resume(initial_weights)
    state, rows = progress.state, list(progress.rows)
    with tqdm.tqdm(
      total=self._config.rounds,
      initial=len(rows),
      desc="federated rounds",
      unit="round",
    ) as bar:
      while len(rows) < self._config.rounds:
        before = state.global_model_weights
        state, row = self._round(state, len(rows))
        row.update(observe(before, state.global_model_weights))
        done = len(rows) + 1
        if done % self._config.evaluate_every == 0:
          row.update(evaluate(state.global_model_weights))
        rows.append(row)
        if done % _CHECKPOINT_EVERY == 0 or done == self._config.rounds:
          self._save(Progress(state, rows))
        bar.set_postfix_str(_summary(row))
        bar.update()
    return state.global_model_weights, rows

  def _round(self, state: Any, number: int) -> tuple[Any, Row]:
    started = time.monotonic()
    draw = (len(self._data), self._config.cohort, self._config.seed, number)
    cohort = sample_cohort(*draw)
    earlier = earlier_rounds(*draw)
    clients = [
      OrderedDict(
        client=np.array([client], np.int32),
        batches=self._data.batches(client, earlier[client]),
      )
      for client in cohort
    ]
    output = self._process.next(state, clients)
    metrics = output.metrics
    state, rehearsed = output.state, {}
    if self._rehearsal is not None:
      weights, loss = self._rehearsal.after_round(
        state.global_model_weights, number
      )
      state = state._replace(global_model_weights=weights)
      rehearsed = {"rehearsal_loss": loss}
    return state, {
      "round": number + 1,
      "loss": float(metrics["client_work"]["loss"]),
      **rehearsed,
      "seconds": round(time.monotonic() - started, 3),
      "clients": len(cohort),
      "rejected_clients": int(metrics["client_work"]["rejected_clients"]),
      "download_bytes": len(cohort) * self._process.download_bytes_per_client,
      "upload_bytes": len(cohort) * self._process.upload_bytes_per_client,
      "held_fraction": float(metrics["aggregator"]["held_fraction"]),
      "update_norm": float(metrics["finalizer"]["update_norm"]),
    }

  def _resume(self, initial_weights: np.ndarray) -> Progress:
    start = self._process.initialize()._replace(
      global_model_weights=np.asarray(initial_weights, np.float32)
    )
    leaves = tf.nest.flatten(start)
    try:
      with np.load(self._checkpoint_path, allow_pickle=False) as archive:
        if str(archive["fingerprint"]) != self._fingerprint:
          logging.warning(
            "%s is of another run; starting over", self._checkpoint_path
          )
          return Progress(start, [])
        saved = [archive[f"state_{i}"] for i in range(len(leaves))]
        rows = json.loads(str(archive["rows"]))
    except FileNotFoundError:
      return Progress(start, [])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
      logging.warning(
        "%s is damaged (%s); starting over", self._checkpoint_path, error
      )
      return Progress(start, [])
    logging.info("going on after round %d", len(rows))
    return Progress(tf.nest.pack_sequence_as(start, saved), rows)

  def _save(self, progress: Progress) -> None:
    leaves = tf.nest.flatten(progress.state)
    with whole_file(self._checkpoint_path) as temporary:
      with open(temporary, "wb") as file:
        np.savez(
          file,
          fingerprint=self._fingerprint,
          rows=json.dumps(progress.rows),
          **{f"state_{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)},
        )


def _summary(row: Row) -> str:
  parts = [f"loss {row['loss']:.3f}"]
  parts += [f"{k} {v:.3f}" for k, v in row.items() if k.endswith("_wer")]
  return ", ".join(parts)

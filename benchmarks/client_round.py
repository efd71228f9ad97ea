"""What a round costs a client: real tensors that cross, and time to compute."""

import dataclasses
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import psutil
import tensorflow as tf
import tensorflow_federated as tff

from fl.data.client_data import ClientData
from fl.dropout.plan import DropoutPlan
from fl.dropout.selection import RandomUnits
from fl.dropout.sub_model import VariableSpec
from fl.dropout.tiers import one_tier
from fl.processes.client_work import LocalTraining, build_client_work
from fl.processes.distributor import build_distributor
from fl.runtime.local import local_runtime
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.unit_groups import unit_groups
from lingvo_lite.training.ctc_objective import ctc_objective

_LEARNING_RATE = 1e-3


class ClientRound:
  """A round without the server's half: weights out, training, updates back.

  Args:
    config: of the full model.
    specs: its variables.
    weights: float32[P].
    plan: what the clients get.
    data: their speech.
  """

  def __init__(
    self,
    config: ConformerConfig,
    specs: Sequence[VariableSpec],
    weights: np.ndarray,
    plan: DropoutPlan,
    data: ClientData,
  ) -> None:
    sub_model = plan.sub_model(specs, unit_groups(config))
    # Without dropout noise, as clients train.
    narrow = dataclasses.replace(
      config.with_widths(plan.kept), dropout_rate=0.0
    )
    training = LocalTraining(
      build_model=lambda: build_ctc_model(narrow),
      objective=ctc_objective,
      optimizer=tff.learning.optimizers.build_adam(
        _LEARNING_RATE, epsilon=1e-5
      ),
      learning_rate=lambda round_number: tf.constant(_LEARNING_RATE),
      clip_norm=1.0,
      seed=0,
    )
    self._weights = weights
    self._data = data
    everyone = one_tier(RandomUnits(sub_model, 0, "client"), len(data))
    self._out = build_distributor(everyone)
    self._work = build_client_work([training], everyone, data.batch_spec)

  def measure(self, cohort: Sequence[int], number: int) -> dict[str, Any]:
    """Runs the clients' half of a round.

    Args:
      cohort: the clients.
      number: of the round, which says what they hear.

    Returns:
      `download_bytes` and `upload_bytes`, lists of each client's, counted from
      the values that crossed; `seconds` and `cpu_seconds` of the training
      alone.
    """
    keys = [np.array([client], np.int32) for client in cohort]
    batches = [self._data.batches(client, number) for client in cohort]
    sent = self._out.next(self._out.initialize(), self._weights, keys).result
    cpu, started = _children_cpu_seconds(), time.monotonic()
    back = self._work.next(self._work.initialize(), sent, keys, batches).result
    return {
      "seconds": time.monotonic() - started,
      "cpu_seconds": _children_cpu_seconds() - cpu,
      "download_bytes": [_bytes(message) for message in sent],
      "upload_bytes": [_bytes(message) for message in back],
    }


def measure_client_rounds(
  config: ConformerConfig,
  specs: Sequence[VariableSpec],
  weights: np.ndarray,
  plans: Sequence[DropoutPlan],
  data: ClientData,
  cohort: Sequence[int],
  repeats: int,
) -> list[dict[str, Any]]:
  """Measures plans against each other, in turns.

  Args:
    config: of the full model.
    specs: its variables.
    weights: float32[P].
    plans: what is compared.
    data: the clients' speech.
    cohort: who takes part, always.
    repeats: measurements of each, after one to warm up.

  Returns:
    A row for each plan, in order: bytes of a client as predicted and as
    counted, medians of `seconds` and `cpu_seconds`, and of what they are of the
    first plan's in the same turn (`seconds_of_first`, `cpu_seconds_of_first`),
    which a machine that is now faster, now slower changes less.
  """
  rounds = [ClientRound(config, specs, weights, plan, data) for plan in plans]
  found: list[list[dict[str, Any]]] = [[] for _ in plans]
  with local_runtime():
    for number in range(repeats + 1):
      for place, each in enumerate(rounds):
        found[place].append(each.measure(cohort, number))
  rows = []
  for plan, counted in zip(plans, found, strict=True):
    rows.append(
      {
        "strategy": plan.strategy,
        "client_params": plan.client_params,
        "server_params": plan.server_params,
        "predicted_download_bytes": plan.download_bytes_per_client,
        "predicted_upload_bytes": plan.upload_bytes_per_client,
        "download_bytes": sorted(
          {size for one in counted for size in one["download_bytes"]}
        ),
        "upload_bytes": sorted(
          {size for one in counted for size in one["upload_bytes"]}
        ),
        **_times(counted[1:], found[0][1:]),
      }
    )
  return rows


def _times(
  counted: Sequence[dict[str, Any]], first: Sequence[dict[str, Any]]
) -> dict[str, float]:
  times = {}
  for name in ("seconds", "cpu_seconds"):
    times[name] = statistics.median(one[name] for one in counted)
    times[f"{name}_of_first"] = statistics.median(
      one[name] / whole[name] for one, whole in zip(counted, first, strict=True)
    )
  return times


def _bytes(message: Any) -> int:
  """Counts the bytes of all tensors of a message, sequences included."""
  total = 0
  for value in message:
    items = value if isinstance(value, (list, tf.data.Dataset)) else [value]
    total += sum(np.asarray(item).nbytes for item in items)
  return total


def _children_cpu_seconds() -> float:
  """CPU time of TFF's worker, whatever else the machine does meanwhile."""
  total = 0.0
  for process in psutil.Process().children(recursive=True):
    times = process.cpu_times()
    total += times.user + times.system
  return total

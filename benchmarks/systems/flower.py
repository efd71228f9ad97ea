"""Rounds of Flower's simulation, in an environment of its own.

As fast as Flower lets it be: each of its processes keeps the model and its
graph from client to client (Flower's examples build both anew for each), and
takes one core, as the workers of the others do.
"""

import functools
import os
import sys
from typing import Any

import tensorflow as tf
from flwr.client import ClientApp, NumPyClient
from flwr.common import Context, ndarrays_to_parameters
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.simulation import run_simulation

from benchmarks.systems.plain import PlainClient, data_set
from benchmarks.systems.turns import Turns
from benchmarks.systems.workload import Workload
from lingvo_lite.models.presets import PRESETS

# There will be as many as are asked for.
_ROUNDS = 10**6


class _Client(NumPyClient):
  def __init__(self, workload: Workload, number: int) -> None:
    self._workload = workload
    self._number = number

  def fit(self, parameters, config):
    """Trains on the client's batches; returns weights and their weight."""
    trained = _trainer(self._workload.preset).train(
      parameters, _data(self._workload, self._number)
    )
    return trained, self._workload.steps * self._workload.batch_size, {}


@functools.cache
def _trainer(preset: str) -> PlainClient:
  tf.config.threading.set_intra_op_parallelism_threads(1)
  return PlainClient(PRESETS[preset], "graph")


_data = functools.cache(data_set)


class _InTurns(FedAvg):
  """Federated averaging that begins a round when one is asked for."""

  def __init__(self, turns: Turns, **settings: Any) -> None:
    super().__init__(**settings)
    self._turns = turns

  def configure_fit(self, *arguments, **named):
    """Waits before a round begins."""
    self._turns.wait()
    return super().configure_fit(*arguments, **named)

  def aggregate_fit(self, server_round, results, failures):
    """Reports a round that ended."""
    if failures:
      print(f"clients failed: {failures}", file=sys.stderr)
      os._exit(1)
    aggregated = super().aggregate_fit(server_round, results, failures)
    self._turns.done()
    return aggregated


def serve(workload: Workload) -> None:
  """Runs rounds in which all clients take part, for as long as asked for."""
  turns = Turns()
  # Ray would let its processes give way to all others.
  os.environ["RAY_worker_niceness"] = "0"
  weights = _trainer(workload.preset).weights

  def make_client(context: Context) -> Any:
    number = int(context.node_config["partition-id"])
    return _Client(workload, number).to_client()

  def make_server(context: Context) -> ServerAppComponents:
    del context
    return ServerAppComponents(
      strategy=_InTurns(
        turns,
        fraction_fit=1.0,
        fraction_evaluate=0.0,
        min_fit_clients=workload.clients,
        min_available_clients=workload.clients,
        initial_parameters=ndarrays_to_parameters(weights),
      ),
      config=ServerConfig(num_rounds=_ROUNDS),
    )

  run_simulation(
    server_app=ServerApp(server_fn=make_server),
    client_app=ClientApp(client_fn=make_client),
    num_supernodes=workload.clients,
    backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
  )


if __name__ == "__main__":
  # Run as a module of its name, so that Flower's processes import it and keep
  # what is cached, where they would copy what belongs to `__main__`.
  from benchmarks.systems import flower

  flower.serve(Workload.from_argument(sys.argv[1]))

"""A federated program of one small matrix, for the tests of the round loop."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl.checkpoints import Checkpoints
from fl.data.client_data import ClientData
from fl.data.cohorts import CohortSampler
from fl.dropout.selection import RandomUnits
from fl.dropout.sub_model import SubModel, variable_specs
from fl.dropout.tiers import one_tier
from fl.federated_config import FederatedConfig
from fl.processes.aggregation import AggregationConfig
from fl.processes.client_work import LocalTraining
from fl.processes.compose import FederatedProcess, build_federated_process
from fl.program import FederatedProgram
from fl.runtime.local import local_runtime
from lingvo_lite.audio.spec_augment import SpecAugmentConfig
from lingvo_lite.data.examples import Example
from lingvo_lite.data.utterance import Utterance

SETTINGS = {
  "rounds": 7,
  "cohort": 2,
  "local_epochs": 1,
  "client_batch_size": 2,
  "client_learning_rate": 0.1,
  "client_clip_norm": 1.0,
  "server_learning_rate": 0.1,
  "rehearsal_steps": 0,
  "seed": 5,
  "mask_scope": "client",
  "refresh_every": 0,
  "refresh_hysteresis": 0.2,
  "evaluate_every": 2,
}


def examples() -> list[Example]:
  """Returns three utterances of each of three speakers."""
  draw = np.random.default_rng(0)
  return [
    Example(
      Utterance(f"{speaker}-2-{number}", str(speaker), "2", "", "A"),
      draw.normal(size=[20 + 4 * number, 80]).astype(np.float32),
      np.array([1, 2, 3], np.int32),
    )
    for speaker in (30, 10, 20)
    for number in range(3)
  ]


def small_data(**changes: Any) -> ClientData:
  """Returns the speakers as clients, but for changes of its settings."""
  settings = {"batch_size": 2, "local_epochs": 1, "seed": 5, **changes}
  return ClientData(examples(), augment=SpecAugmentConfig(), **settings)


def small_model() -> tf.keras.Model:
  """Returns a model of 81 weights."""
  inputs = tf.keras.Input([80])
  hidden = tf.keras.layers.Dropout(0.3, name="dropout")(inputs)
  return tf.keras.Model(inputs, tf.keras.layers.Dense(1, name="out")(hidden))


def any_objective(
  model: tf.keras.Model, batch: dict[str, tf.Tensor]
) -> tf.Tensor:
  """Returns a loss that a client can lower."""
  # Any objective will do: the program never asks what the model is.
  outputs = model(tf.reduce_mean(batch["features"], 1), training=True)
  return tf.reduce_mean(tf.square(outputs - 1.0))


class ProgramCase(tf.test.TestCase):
  """Runs small programs on a worker that the tests of a class share."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.worker = cls.enterClassContext(local_runtime())
    config = FederatedConfig(**SETTINGS)
    specs = variable_specs(small_model())
    optimizers = tff.learning.optimizers
    cls.config = config
    cls.sampler = CohortSampler((3, 3, 3), 2, config.seed, "uniform")
    cls.whole = RandomUnits(
      SubModel(specs, [], {}), config.seed, config.mask_scope
    )

    def build(
      tiers,
      aggregation=AggregationConfig(),
      objective=any_objective,
      **settings,
    ):
      training = LocalTraining(
        small_model,
        objective,
        optimizers.build_sgdm(0.1),
        lambda number: config.schedule(0.1, number),
        clip_norm=1.0,
        seed=config.seed,
        **settings,
      )
      return build_federated_process(
        specs,
        tiers,
        [training] * len(tiers.names),
        small_data().batch_spec,
        server_optimizer=optimizers.build_adam(0.1),
        server_learning_rate=lambda number: config.schedule(0.1, number),
        aggregation=aggregation,
        cohort=2,
      )

    cls.build = staticmethod(build)
    cls.process = build(one_tier(cls.whole, 3))
    # For tests that run many times: its graphs take a second.
    cls.traced = small_data()

  def run_program(
    self,
    folder: str,
    evaluate: Callable = lambda weights: {},
    fingerprint: str = "run",
    observe: Callable = lambda old, new: {},
    process: FederatedProcess | None = None,
    data: ClientData | None = None,
    sampler: CohortSampler | None = None,
    kept: Checkpoints | None = None,
    **settings: Any,
  ) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Runs a program, that of the class but for what is given."""
    program = FederatedProgram(
      process or self.process,
      data or small_data(),
      self.config,
      sampler or self.sampler,
      kept or Checkpoints(folder, fingerprint),
      **settings,
    )
    return program.run(np.zeros(81, np.float32), evaluate, observe)

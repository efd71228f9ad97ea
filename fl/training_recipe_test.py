"""How a run trains: learning rates, and what is refused beforehand."""

import dataclasses
from unittest import mock

import tensorflow as tf
from absl.testing import parameterized

from fl.faults.fault_lab import FaultConfig
from fl.federated_config import FederatedConfig
from fl.privacy.privacy_config import PrivacyConfig
from fl.processes.aggregation import AggregationConfig
from fl.training_recipe import build_process
from lingvo_lite.stage.errors import InputError

_CONFIG = FederatedConfig(
  rounds=8, cohort=2, local_epochs=1, client_batch_size=2,
  client_learning_rate=0.2, client_clip_norm=1.0, server_learning_rate=0.1,
  rehearsal_steps=0, seed=5, mask_scope="client", evaluate_every=2,
  keep_zeros=True,
)  # fmt: skip


class ScheduleTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    # A quarter and three quarters of half a cosine: (1 +- 1 / sqrt 2) / 2.
    ("cosine", [0.2, 0.1707107, 0.1, 0.0292893]),
    ("inverse_sqrt", [0.2, 0.1154701, 0.0894427, 0.0755929]),
    ("constant", [0.2] * 4),
  )
  def test_by_hand(self, schedule, expected):
    config = dataclasses.replace(
      _CONFIG, client_learning_rate_schedule=schedule
    )
    rates = [config.client_schedule(tf.constant(r)) for r in (0, 2, 4, 6)]
    self.assertAllClose(rates, expected)
    # The server's stays a cosine.
    self.assertAllClose(config.schedule(0.1, tf.constant(4)), 0.05)

  def test_one_that_is_unknown_is_refused(self):
    with self.assertRaisesRegex(InputError, "_schedule=step, expected one of"):
      dataclasses.replace(_CONFIG, client_learning_rate_schedule="step")


class TrainingRecipeTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    AggregationConfig(privacy=PrivacyConfig("gaussian")),
    AggregationConfig(privacy=PrivacyConfig("tree")),
    AggregationConfig(compressed=True),
  )
  def test_zeros_that_noise_or_rounding_would_fill_are_refused(self, config):
    nothing = mock.Mock()
    with self.assertRaisesRegex(InputError, "fill the zeros.*then prune it"):
      build_process(
        _CONFIG, [], nothing, nothing, [], nothing, config, FaultConfig(), None
      )


if __name__ == "__main__":
  tf.test.main()

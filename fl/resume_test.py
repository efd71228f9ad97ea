"""A run that is killed for real and started again ends with the same bytes."""

import functools
import hashlib
import os
import signal
import subprocess
import sys
from unittest import mock

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
from absl.testing import absltest

from fl.checkpoints import Checkpoints
from fl.data.client_data import ClientData
from fl.data.cohorts import tiered_sampler
from fl.dropout.selection import RandomUnits
from fl.dropout.sub_model import SubModel, variable_specs
from fl.dropout.tiers import Tiers
from fl.faults.fault_lab import FaultConfig
from fl.faults.round_policy import RoundPolicy
from fl.federated_config import FederatedConfig
from fl.processes.client_work import LocalTraining
from fl.processes.compose import build_federated_process
from fl.program import FederatedProgram
from fl.runtime.local import local_runtime
from lingvo_lite.audio.spec_augment import SpecAugmentConfig
from lingvo_lite.data.examples import Example
from lingvo_lite.data.utterance import Utterance
from lingvo_lite.models.unit_groups import UnitGroup, UnitSlice

_ROUNDS = 8
_SEED = 5
_GROUP = UnitGroup(
  "hidden",
  4,
  (
    UnitSlice("hidden/kernel:0", 1),
    UnitSlice("hidden/bias:0", 0),
    UnitSlice("out/kernel:0", 0),
  ),
)


def _model(hidden):
  inputs = tf.keras.Input([80])
  values = tf.keras.layers.Dense(hidden, name="hidden")(inputs)
  values = tf.keras.layers.Dropout(0.3, name="dropout")(values)
  return tf.keras.Model(inputs, tf.keras.layers.Dense(1, name="out")(values))


def _objective(model, batch):
  outputs = model(tf.reduce_mean(batch["features"], 1), training=True)
  return tf.reduce_mean(tf.square(outputs - 1.0))


class _KilledWriting(Checkpoints):
  """Dies when the last round's state is written but has not its name yet."""

  def save(self, progress):
    def die(descriptor):
      os.kill(os.getpid(), signal.SIGKILL)

    if len(progress.rows) < _ROUNDS:
      super().save(progress)
      return
    with mock.patch.object(os, "fsync", die):
      super().save(progress)


def train(folder, how="straight"):
  """Trains two tiers, with faults; says each round and the result's hash."""
  draw = np.random.default_rng(0)
  examples = [
    Example(
      Utterance(f"{speaker}-2-{number}", str(speaker), "2", "", "A"),
      draw.normal(size=[20 + 4 * number, 80]).astype(np.float32),
      np.array([1, 2, 3], np.int32),
    )
    for speaker in range(5)
    for number in range(3)
  ]
  data = ClientData(examples, 2, 1, SpecAugmentConfig(), _SEED)
  config = FederatedConfig(
    rounds=_ROUNDS, cohort=3, local_epochs=1, client_batch_size=2,
    client_learning_rate=0.1, client_clip_norm=1.0, server_learning_rate=0.1,
    rehearsal_steps=0, seed=_SEED, mask_scope="client", evaluate_every=3,
  )  # fmt: skip
  faults = FaultConfig(dropout=0.1, nan=0.1, crash=0.05, seed=2)
  specs = variable_specs(_model(4))
  widths, of_client = (2, 3), (0, 1, 0, 0, 1)
  process = build_federated_process(
    specs,
    Tiers(
      ("narrow", "wide"),
      tuple(
        RandomUnits(
          SubModel(specs, [_GROUP], {"hidden": width}), _SEED, "client"
        )
        for width in widths
      ),
      of_client,
    ),
    [
      LocalTraining(
        functools.partial(_model, width),
        _objective,
        tff.learning.optimizers.build_sgdm(0.1),
        lambda number: config.schedule(0.1, number),
        clip_norm=1.0,
        seed=_SEED,
        sabotage=faults.sabotage,
      )
      for width in widths
    ],
    data.batch_spec,
    server_optimizer=tff.learning.optimizers.build_adam(0.1),
    server_learning_rate=lambda number: config.schedule(0.1, number),
  )
  program = FederatedProgram(
    process,
    data,
    config,
    tiered_sampler(data.utterances, of_client, (2, 1), _SEED, "uniform"),
    (_KilledWriting if how == "killed writing" else Checkpoints)(folder, "run"),
    RoundPolicy(max_attempts=10),
    faults,
    report=lambda row: print("round", row["round"], flush=True),
  )
  with local_runtime():
    weights, rows = program.run(
      np.linspace(-1, 1, 4 * 80 + 9), lambda weights: {}
    )
  kept = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
  digest = hashlib.sha256(weights.tobytes() + repr(kept).encode())
  print("done", digest.hexdigest(), flush=True)


_PROGRAM = f"""
import sys
from {__name__ if __name__ != "__main__" else "fl.resume_test"} import train
train(*sys.argv[1:])
"""


class ResumeTest(absltest.TestCase):
  def start(self, *arguments):
    program = subprocess.Popen(
      [sys.executable, "-c", _PROGRAM, *arguments],
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
      text=True,
    )
    self.addCleanup(program.stdout.close)
    self.addCleanup(program.kill)
    return program

  def test_killed_in_the_middle_of_a_round_and_of_a_checkpoint(self):
    folder = self.create_tempdir().full_path
    straight = self.start(os.path.join(folder, "straight"))
    expected = straight.stdout.read().split("done ")[1]
    self.assertEqual(straight.wait(), 0)

    path = os.path.join(folder, "killed")
    killed = self.start(path)
    for line in killed.stdout:
      if line == f"round {_ROUNDS - 2}\n":
        # At work on the next round, after a checkpoint.
        killed.send_signal(signal.SIGKILL)
        break
    self.assertEqual(killed.wait(), -signal.SIGKILL)
    torn = self.start(path, "killed writing")
    # It did not begin at the beginning.
    self.assertEqual(
      torn.stdout.read(), "".join(f"round {n}\n" for n in (6, 7, 8))
    )
    self.assertEqual(torn.wait(), -signal.SIGKILL)
    self.assertLen([n for n in os.listdir(path) if n.startswith(".partial")], 1)
    again = self.start(path).stdout.read()
    self.assertStartsWith(again, "round 6\n")
    self.assertEqual(again.split("done ")[1], expected)


if __name__ == "__main__":
  absltest.main()

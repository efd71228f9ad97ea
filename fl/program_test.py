"""The round loop: cohorts, client data, and resuming after a kill."""

import os
import signal

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
from absl.testing import parameterized

from fl.checkpoints import Checkpoints
from fl.data.client_data import ClientData
from fl.data.cohorts import CohortSampler
from fl.dropout.selection import RandomUnits
from fl.dropout.sub_model import SubModel, variable_specs
from fl.dropout.tiers import Tiers, one_tier
from fl.faults.fault_lab import FaultConfig
from fl.faults.round_policy import RoundPolicy
from fl.federated_config import FederatedConfig
from fl.importance.churn import Churn
from fl.importance.probes import Part
from fl.processes.client_work import LocalTraining
from fl.processes.compose import build_federated_process
from fl.program import FederatedProgram
from fl.rehearsal import Rehearsal, RehearsalPlan
from fl.runtime.local import local_runtime
from lingvo_lite.audio.spec_augment import SpecAugmentConfig
from lingvo_lite.data.batching import bucketed_batches
from lingvo_lite.data.examples import Example
from lingvo_lite.data.utterance import Utterance
from lingvo_lite.stage.errors import InputError

_SETTINGS = {
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


def _examples():
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


def _data(**changes):
  settings = {"batch_size": 2, "local_epochs": 1, "seed": 5, **changes}
  return ClientData(_examples(), augment=SpecAugmentConfig(), **settings)


def _model():
  inputs = tf.keras.Input([80])
  hidden = tf.keras.layers.Dropout(0.3, name="dropout")(inputs)
  return tf.keras.Model(inputs, tf.keras.layers.Dense(1, name="out")(hidden))


def _objective(model, batch):
  # Any objective will do: the program never asks what the model is.
  outputs = model(tf.reduce_mean(batch["features"], 1), training=True)
  return tf.reduce_mean(tf.square(outputs - 1.0))


def _rehearsal():
  def batches(start):
    augment = SpecAugmentConfig()
    return bucketed_batches(_examples(), 2, 9, augment, start_step=start)

  training = LocalTraining(
    _model,
    _objective,
    tff.learning.optimizers.build_adam(0.05),
    lambda number: tf.constant(0.05),
    clip_norm=1.0,
    seed=5,
  )
  return Rehearsal(RehearsalPlan(training, batches, steps=3))


class ClientDataTest(parameterized.TestCase, tf.test.TestCase):
  def test_a_speaker_is_a_client(self):
    data = _data()
    self.assertEqual(data.speakers, ["10", "20", "30"])
    # Three utterances in batches of two, the last one topped up.
    self.assertEqual(data.steps(0), 2)
    self.assertLen(list(data.batches(0, 0)), 2)
    self.assertEqual(_data(local_epochs=3).steps(0), 6)

  def test_a_round_is_the_same_whether_reached_in_order_or_at_once(self):
    in_order = _data()
    for number in range(3):
      reached = list(in_order.batches(1, number))
    at_once = list(_data().batches(1, 2))
    for one, same in zip(reached, at_once, strict=True):
      for name in one:
        self.assertAllEqual(one[name], same[name])
    # Another client's stream is another one.
    other = list(_data().batches(2, 2))
    self.assertNotEqual(
      [batch["lengths"].numpy().tolist() for batch in at_once],
      [batch["lengths"].numpy().tolist() for batch in other],
    )

  def test_nothing_to_train_on_is_refused(self):
    with self.assertRaisesRegex(InputError, "no client speech"):
      ClientData([], 2, 1, None, 0)
    with self.assertRaisesRegex(InputError, "local_epochs=0"):
      _data(local_epochs=0)

  @parameterized.parameters(
    ("rounds", 0), ("cohort", -1), ("client_learning_rate", float("nan")),
    ("server_learning_rate", 0.0), ("mask_scope", "cohort"),
    ("refresh_every", -1), ("refresh_hysteresis", float("inf")),
  )  # fmt: skip
  def test_a_setting_out_of_range_is_refused_by_its_flag(self, name, value):
    with self.assertRaisesRegex(InputError, f"--{name}={value}"):
      FederatedConfig(**{**_SETTINGS, name: value})


class _KilledError(Exception):
  pass


class FederatedProgramTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.worker = cls.enterClassContext(local_runtime())
    config = FederatedConfig(**_SETTINGS)
    specs = variable_specs(_model())
    optimizers = tff.learning.optimizers
    cls.config = config
    cls.sampler = CohortSampler((3, 3, 3), 2, config.seed, "uniform")
    cls.whole = RandomUnits(
      SubModel(specs, [], {}), config.seed, config.mask_scope
    )

    def build(tiers, **settings):
      training = LocalTraining(
        _model,
        _objective,
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
        _data().batch_spec,
        server_optimizer=optimizers.build_adam(0.1),
        server_learning_rate=lambda number: config.schedule(0.1, number),
      )

    cls.build = staticmethod(build)
    cls.process = build(one_tier(cls.whole, 3))

  def run_program(
    self,
    folder,
    evaluate=lambda weights: {},
    fingerprint="run",
    observe=lambda old, new: {},
    process=None,
    **settings,
  ):
    data = _data()
    program = FederatedProgram(
      process or self.process,
      data,
      self.config,
      self.sampler,
      Checkpoints(folder, fingerprint),
      **settings,
    )
    return program.run(np.zeros(81, np.float32), evaluate, observe)

  def test_a_killed_run_ends_with_the_same_bytes(self):
    folder = self.create_tempdir().full_path
    straight, rows = self.run_program(os.path.join(folder, "straight"))
    self.assertLen(rows, 7)
    self.assertGreater(rows[0]["loss"], rows[-1]["loss"])
    self.assertFalse(np.allclose(straight, 0))

    calls = []

    def die_late(weights):
      calls.append(weights)
      # Rounds 2, 4, 6: after the checkpoint at 5.
      if len(calls) == 3:
        raise _KilledError
      return {"held_out_wer": 0.5}

    path = os.path.join(folder, "killed")
    with self.assertRaises(_KilledError):
      self.run_program(path, die_late)
    calls.clear()
    weights, resumed_rows = self.run_program(
      path, lambda weights: calls.append(weights) or {"held_out_wer": 0.5}
    )
    self.assertLen(calls, 1)
    self.assertEqual(weights.tobytes(), straight.tobytes())
    self.assertEqual([row["round"] for row in resumed_rows], [*range(1, 8)])
    self.assertEqual(
      [row["loss"] for row in resumed_rows], [row["loss"] for row in rows]
    )
    self.assertEqual(
      ["held_out_wer" in row for row in resumed_rows],
      [False, True, False, True, False, True, False],
    )

    # Its last file torn, and another run's beside it: it goes on from the one
    # before, to the same end.
    self.run_program(path, fingerprint="another run")
    newest = max(Checkpoints(path, "run")._paths())
    with open(newest, "r+b") as file:
      file.truncate(100)
    with self.assertLogs(level="WARNING") as logs:
      again, again_rows = self.run_program(path)
    self.assertIn("damaged", logs.output[0])
    self.assertEqual(again.tobytes(), straight.tobytes())
    self.assertLen(again_rows, 7)

  def test_a_killed_run_with_rehearsal_ends_with_the_same_bytes(self):
    folder = self.create_tempdir().full_path
    straight, rows = self.run_program(
      os.path.join(folder, "straight"), rehearsal=_rehearsal()
    )
    without, _ = self.run_program(os.path.join(folder, "without"))
    self.assertGreater(np.abs(straight - without).max(), 1e-3)
    self.assertIn("rehearsal_loss", rows[0])

    def die_late(weights):
      died.append(weights)
      if len(died) == 3:
        raise _KilledError
      return {}

    died = []
    path = os.path.join(folder, "killed")
    with self.assertRaises(_KilledError):
      self.run_program(path, die_late, rehearsal=_rehearsal())
    weights, _ = self.run_program(path, rehearsal=_rehearsal())
    self.assertEqual(weights.tobytes(), straight.tobytes())

  def test_an_interrupt_ends_the_round_and_keeps_it(self):
    folder = self.create_tempdir().full_path
    straight, _ = self.run_program(os.path.join(folder, "straight"))
    path = os.path.join(folder, "interrupted")
    reported = []

    def interrupt(weights):
      # In the middle of round 4.
      if len(reported) == 3:
        os.kill(os.getpid(), signal.SIGINT)
      return {}

    with self.assertRaises(KeyboardInterrupt):
      self.run_program(path, interrupt, report=reported.append)
    self.assertLen(reported, 4)
    reported.clear()
    weights, rows = self.run_program(path, report=reported.append)
    self.assertEqual([row["round"] for row in reported], [5, 6, 7])
    self.assertEqual(rows[4:], reported)
    self.assertEqual(weights.tobytes(), straight.tobytes())

  def test_a_second_interrupt_does_not_wait(self):
    path = self.create_tempdir().full_path
    reported = []
    # Programs that a shell starts in the background ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    self.addCleanup(signal.signal, signal.SIGINT, before)

    def interrupt_twice(weights):
      if len(reported) == 3:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        self.fail("the round went on")
      return {}

    with self.assertRaises(KeyboardInterrupt):
      self.run_program(path, interrupt_twice, report=reported.append)
    self.assertLen(reported, 3)

  def test_a_dead_worker_costs_an_attempt(self):
    folder = self.create_tempdir().full_path
    straight, _ = self.run_program(os.path.join(folder, "straight"))
    killed = []

    def kill_worker(row):
      if row["round"] == 3:
        killed.append(self.worker.pid)
        os.kill(self.worker.pid, signal.SIGKILL)
        self.worker.wait()

    _, rows = self.run_program(os.path.join(folder, "shot"), report=kill_worker)
    self.assertLen(rows, 7)
    self.assertNotIn(self.worker.pid, killed)
    self.assertLessEqual(sum(row["failed_attempts"] for row in rows), 1)

  def test_observing_churn_changes_nothing(self):
    folder = self.create_tempdir()
    straight, _ = self.run_program(os.path.join(folder, "straight.npz"))
    churn = Churn(variable_specs(_model()), [Part("out", "group", ("out",))])
    seen = []

    def observe(before, after):
      seen.append((before, after))
      return {"churn": churn.relative(before, after)}

    weights, rows = self.run_program(
      os.path.join(folder, "observed"), observe=observe
    )
    self.assertEqual(weights.tobytes(), straight.tobytes())
    self.assertLen(seen, 7)
    self.assertAllEqual(seen[3][1], seen[4][0])
    before, after = (np.asarray(w, np.float64) for w in seen[4])
    expected = np.linalg.norm(after - before) / np.linalg.norm(before)
    self.assertAlmostEqual(rows[4]["churn"]["out"], expected)

  def test_rows_count_the_bytes(self):
    _, rows = self.run_program(self.create_tempdir().full_path)
    # Two clients, 81 weights of four bytes, and the small numbers beside them.
    self.assertEqual(rows[0]["download_bytes"], 2 * (4 * 81 + 4))
    self.assertEqual(rows[0]["upload_bytes"], 2 * (4 * 81 + 16))
    self.assertEqual(rows[0]["clients"], 2)
    self.assertEqual(rows[0]["client_steps"], 4)
    # At a tenth of a simulated second each.
    self.assertEqual(rows[0]["client_seconds"], 0.4)

  def test_rows_say_what_each_tier_had(self):
    tiers = Tiers(("phone", "watch"), (self.whole,) * 2, (0, 1, 0))
    _, rows = self.run_program(
      self.create_tempdir().full_path, process=self.build(tiers)
    )
    _, alike = self.run_program(self.create_tempdir().full_path)
    cohorts = [self.sampler.draw(number) for number in range(7)]
    for row, same, cohort in zip(rows, alike, cohorts, strict=True):
      watches = cohort.count(1)
      self.assertEqual(row["tier_phone_clients"], 2 - watches)
      self.assertEqual(row["tier_watch_clients"], watches)
      self.assertEqual(row["tier_watch_download_bytes"], 328 * watches)
      self.assertEqual(row["tier_phone_upload_bytes"], 340 * (2 - watches))
      self.assertEqual("tier_watch_loss" in row, watches > 0)
      self.assertLessEqual({**same, "seconds": 0}.items(),
                           {**row, "seconds": 0}.items())  # fmt: skip
    self.assertLen({cohort.count(1) for cohort in cohorts}, 2)

  def test_dropouts_and_late_clients_are_left_out_and_counted(self):
    faults = FaultConfig(dropout=0.3, slow=0.3, seed=1)
    policy = RoundPolicy(max_attempts=20, deadline_s=1.0, client_step_s=0.1)
    _, rows = self.run_program(
      self.create_tempdir().full_path, faults=faults, policy=policy
    )
    self.assertLen(rows, 7)
    lost = {
      name: sum(row[name] for row in rows)
      for name in ("dropped_clients", "late_clients", "failed_attempts")
    }
    # Two steps of 0.1 s are in time, ten times that is not.
    self.assertGreater(lost["dropped_clients"], 0)
    self.assertGreater(lost["late_clients"], 0)
    # Every client drawn is either in a round or counted as lost.
    drawn = 2 * (len(rows) + lost["failed_attempts"])
    self.assertEqual(
      sum(row["clients"] for row in rows)
      + lost["dropped_clients"] + lost["late_clients"], drawn
    )  # fmt: skip

  def test_clients_of_all_faults_are_counted_and_training_goes_on(self):
    faults = FaultConfig(
      nan=0.2, oversized=0.1, misshapen=0.15, crash=0.15, seed=22
    )
    expected = []
    for number in range(7):
      failed = 0
      while True:
        cohort = self.sampler.draw(number, failed)
        found = [faults.fault(number, client) for client in cohort]
        if "crash" not in found and None in found:
          break
        failed += 1
      expected.append(
        {
          "failed_attempts": failed,
          "clients": found.count(None),
          "rejected_not_finite": found.count("nan"),
          "rejected_oversized": found.count("oversized"),
          "rejected_misshapen": found.count("misshapen"),
        }
      )
    weights, rows = self.run_program(
      self.create_tempdir().full_path,
      process=self.build(
        one_tier(self.whole, 3),
        sabotage=faults.sabotage,
        max_update_norm=1e3,
      ),
      policy=RoundPolicy(max_attempts=10),
    )
    self.assertEqual(
      [{name: row[name] for name in expected[0]} for row in rows], expected
    )
    # None of them was for nothing.
    for name in expected[0]:
      self.assertGreater(sum(row[name] for row in expected), 0)
    self.assertAllInRange(weights, -10, 10)
    self.assertGreater(rows[0]["loss"], rows[-1]["loss"])

  def test_a_round_that_fails_too_often_ends_the_run_where_it_is(self):
    folder = self.create_tempdir().full_path
    with self.assertRaisesRegex(
      InputError, "round 1 to fail 3 times.*too few clients.*--min_clients"
    ):
      self.run_program(folder, faults=FaultConfig(dropout=1.0))
    _, rows = self.run_program(folder)
    self.assertLen(rows, 7)


if __name__ == "__main__":
  tf.test.main()

"""The round loop: cohorts, client data, and resuming after a kill."""

import collections
import contextlib
import csv
import itertools
import os
import pathlib
import signal
import threading
import time
from unittest import mock

import numpy as np
import psutil
import tensorflow as tf
import tensorflow_federated as tff
from absl.testing import parameterized

from fl import checkpoints
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
from fl.privacy.ledger import PrivacyLedger
from fl.privacy.privacy_config import PrivacyConfig
from fl.processes.aggregation import AggregationConfig
from fl.processes.client_work import LocalTraining
from fl.processes.compose import build_federated_process
from fl.program import FederatedProgram
from fl.rehearsal import Rehearsal, RehearsalPlan
from fl.round_log import RoundLog
from fl.runtime.local import local_runtime
from fl.runtime.remote import Address, remote_runtime
from fl.runtime.worker import LOOPBACK, Worker
from lingvo_lite.audio.spec_augment import SpecAugmentConfig
from lingvo_lite.data.batching import bucketed_batches
from lingvo_lite.data.examples import Example
from lingvo_lite.data.utterance import Utterance
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import whole_file

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


class _Killer:
  """Kills a run at one moment of one round."""

  def __init__(self) -> None:
    self.moments: list[tuple[str, int]] = []
    self.due: tuple[str, int] | None = None

  def at(self, moment, round_number):
    """Notes that the run has come so far, and ends it if that is when."""
    self.moments.append((moment, round_number))
    if (moment, round_number) == self.due:
      raise _KilledError


class _KilledSampler:
  def __init__(self, sampler, killer):
    self._sampler, self._killer = sampler, killer

  def draw(self, number, attempt=0):
    self._killer.at("draw", number + 1)
    return self._sampler.draw(number, attempt)


class _KilledCheckpoints(Checkpoints):
  """Killed before, in the middle of or after writing a file."""

  def __init__(self, folder, killer):
    super().__init__(folder, "run")
    self._killer = killer

  def save(self, progress):
    done = len(progress.rows)
    self._killer.at("save", done)

    @contextlib.contextmanager
    def torn(path):
      with whole_file(path) as temporary:
        yield temporary
        whole = pathlib.Path(temporary).read_bytes()
        try:
          self._killer.at("write", done)
        except _KilledError:
          # What a real kill leaves behind.
          left = pathlib.Path(f"{temporary}.left.npz")
          left.write_bytes(whole[: len(whole) // 2])
          raise

    with mock.patch.object(checkpoints, "whole_file", torn):
      super().save(progress)
    self._killer.at("saved", done)


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

    def build(
      tiers, aggregation=AggregationConfig(), objective=_objective, **settings
    ):
      training = LocalTraining(
        _model,
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
        _data().batch_spec,
        server_optimizer=optimizers.build_adam(0.1),
        server_learning_rate=lambda number: config.schedule(0.1, number),
        aggregation=aggregation,
        cohort=2,
      )

    cls.build = staticmethod(build)
    cls.process = build(one_tier(cls.whole, 3))
    # For tests that run many times: its graphs take a second.
    cls.traced = _data()

  def run_program(
    self,
    folder,
    evaluate=lambda weights: {},
    fingerprint="run",
    observe=lambda old, new: {},
    process=None,
    data=None,
    sampler=None,
    kept=None,
    **settings,
  ):
    program = FederatedProgram(
      process or self.process,
      data or _data(),
      self.config,
      sampler or self.sampler,
      kept or Checkpoints(folder, fingerprint),
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

  def logged(self, folder, killer):
    """Runs, with a log, up to where it is killed; returns the weights."""
    log = RoundLog(folder, {})

    def report(row):
      killer.at("report", row["round"])
      log.write(row)
      killer.at("reported", row["round"])

    weights, rows = self.run_program(
      folder,
      data=self.traced,
      sampler=_KilledSampler(self.sampler, killer),
      kept=_KilledCheckpoints(folder, killer),
      report=report,
    )
    with open(os.path.join(folder, "rounds.csv"), encoding="utf-8") as file:
      table = list(csv.DictReader(file))
    for row in itertools.chain(table, rows):
      row.pop("seconds")
    return weights.tobytes(), rows, table

  def test_killed_at_every_moment_in_turn_it_loses_neither_bytes_nor_rows(self):
    folder = self.create_tempdir().full_path
    straight = _Killer()
    expected = self.logged(os.path.join(folder, "straight"), straight)
    self.assertEqual([row["round"] for row in expected[2]], [*"1234567"])
    # A run that is killed at one of them, and again at the next, and so on.
    self.assertLen(straight.moments, 7 * 3 + 2 * 3)
    path = os.path.join(folder, "killed")
    for moment in straight.moments:
      killer = _Killer()
      killer.due = moment
      with self.assertRaises(_KilledError, msg=moment):
        self.logged(path, killer)
    killer = _Killer()
    self.assertEqual(self.logged(path, killer), expected)
    self.assertEmpty(killer.moments)

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
      counts = collections.Counter()
      for attempt in itertools.count():
        cohort = self.sampler.draw(number, attempt)
        found = [faults.fault(number, client) for client in cohort]
        if "crash" in found:
          # All for nothing, the good ones too.
          counts["discarded_clients"] += len(found)
          continue
        # Of attempts that failed as of the one that counts.
        counts["rejected_not_finite"] += found.count("nan")
        counts["rejected_oversized"] += found.count("oversized")
        counts["rejected_misshapen"] += found.count("misshapen")
        if None in found:
          break
      counts["failed_attempts"] = attempt
      counts["clients"] = found.count(None)
      expected.append(counts)
    names = (
      "failed_attempts", "clients", "rejected_not_finite", "rejected_oversized",
      "rejected_misshapen", "discarded_clients",
    )  # fmt: skip
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
      [[row[name] for name in names] for row in rows],
      [[row[name] for name in names] for row in expected],
    )
    # None of them was for nothing.
    for name in names:
      self.assertGreater(sum(row[name] for row in expected), 0)
    self.assertAllInRange(weights, -10, 10)
    self.assertGreater(rows[0]["loss"], rows[-1]["loss"])

  def test_every_client_that_was_drawn_is_counted_in_its_row(self):
    faults = FaultConfig(nan=0.2, dropout=0.1, slow=0.1, seed=0)
    _, rows = self.run_program(
      self.create_tempdir().full_path,
      process=self.build(one_tier(self.whole, 3), sabotage=faults.sabotage),
      faults=faults,
      # Both are needed: one that is turned down costs the other's work too.
      policy=RoundPolicy(min_clients=2, max_attempts=40, deadline_s=1.0),
    )
    fates = ("rejected_clients", "dropped_clients", "late_clients",
             "discarded_clients")  # fmt: skip
    for row in rows:
      self.assertEqual(row["clients"], 2)
      self.assertEqual(
        sum(row[name] for name in fates), 2 * row["failed_attempts"]
      )
    for name in fates:
      self.assertGreater(sum(row[name] for row in rows), 0, name)

  def test_a_private_run_counts_rounds_of_nobody_and_says_epsilon(self):
    privacy = PrivacyConfig("gaussian", noise_multiplier=2.0, clip_norm=0.1)
    sampler = CohortSampler((3, 3, 3), 1, 5, "poisson")
    weights, rows = self.run_program(
      self.create_tempdir().full_path,
      process=self.build(
        one_tier(self.whole, 3), AggregationConfig(privacy=privacy)
      ),
      sampler=sampler,
      policy=RoundPolicy(min_clients=0),
      ledger=PrivacyLedger(privacy, sampler.probability),
    )
    sizes = [len(sampler.draw(number)) for number in range(7)]
    self.assertEqual([row["clients"] for row in rows], sizes)
    self.assertIn(0, sizes)
    self.assertEqual(["loss" in row for row in rows], [s > 0 for s in sizes])
    # Nobody's round moves the model too, by its noise.
    for row in rows:
      self.assertEqual(row["failed_attempts"], 0)
      self.assertGreater(row["update_norm"], 0)
    self.assertAllInRange(weights, -10, 10)
    # Each round the sampled Gaussian of a third, whoever came: epsilon of n
    # rounds is what the accountant says of n.
    alone = PrivacyLedger(privacy, 1 / 3)
    for number, row in enumerate(rows):
      spent = alone.epsilon(number + 1, np.ones(3, np.int64))
      self.assertAlmostEqual(row["epsilon"], spent)
    spent = [row["epsilon"] for row in rows]
    self.assertEqual(spent, sorted(set(spent)))

  def test_a_worker_that_dies_in_the_middle_of_a_round_costs_an_attempt(self):
    def slow_objective(model, batch):
      # A good part of a second a step, so that there is a middle; nothing that
      # could be worked out beforehand or left out.
      loss = _objective(model, batch)
      square = tf.fill([1000, 1000], tf.stop_gradient(loss) / 1000)
      for _ in range(6):
        square = tf.tanh(square @ square)
      return loss + 1e-9 * tf.reduce_mean(square)

    workers = [Worker(1, 1) for _ in range(2)]
    for worker in workers:
      self.addCleanup(worker.close)
    victim = psutil.Process(workers[1].pid)
    shot = []

    def shoot():
      before = sum(victim.cpu_times()[:2])
      while sum(victim.cpu_times()[:2]) < before + 0.1:
        time.sleep(0.01)
      victim.kill()
      shot.append(victim.pid)

    thread = threading.Thread(target=shoot, daemon=True)

    def report(row):
      # The first round also compiles.
      if row["round"] == 1:
        thread.start()

    process = self.build(one_tier(self.whole, 3), objective=slow_objective)
    addresses = [Address(LOOPBACK, worker.port) for worker in workers]
    self.config = FederatedConfig(**{**_SETTINGS, "rounds": 3})
    with remote_runtime(addresses):
      _, rows = self.run_program(
        self.create_tempdir().full_path, process=process, report=report
      )
    self.assertEqual(shot, [workers[1].pid])
    self.assertEqual([row["clients"] for row in rows], [2, 2, 2])
    self.assertEqual([row["failed_attempts"] for row in rows], [0, 1, 0])
    self.assertEqual([row["discarded_clients"] for row in rows], [0, 2, 0])

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

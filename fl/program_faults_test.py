"""The round loop when clients fail, come late or lie, and workers die."""

import collections
import itertools
import os
import signal
import threading
import time

import psutil
import tensorflow as tf

from fl.dropout.tiers import one_tier
from fl.faults.fault_lab import FaultConfig
from fl.faults.round_policy import RoundPolicy
from fl.federated_config import FederatedConfig
from fl.program_case import SETTINGS, ProgramCase, any_objective
from fl.runtime.remote import Address, remote_runtime
from fl.runtime.worker import LOOPBACK, Worker
from lingvo_lite.stage.errors import InputError


class ProgramFaultsTest(ProgramCase):
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

  def test_a_worker_that_dies_in_the_middle_of_a_round_costs_an_attempt(self):
    def slow_objective(model, batch):
      # A good part of a second a step, so that there is a middle; nothing that
      # could be worked out beforehand or left out.
      loss = any_objective(model, batch)
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
    self.config = FederatedConfig(**{**SETTINGS, "rounds": 3})
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

"""The round loop after a kill or an interrupt: the same bytes, no row lost."""

import contextlib
import csv
import itertools
import os
import pathlib
import signal
from unittest import mock

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl import checkpoints
from fl.checkpoints import Checkpoints
from fl.processes.client_work import LocalTraining
from fl.program_case import ProgramCase, any_objective, examples, small_model
from fl.rehearsal import Rehearsal, RehearsalPlan
from fl.round_log import RoundLog
from lingvo_lite.audio.spec_augment import SpecAugmentConfig
from lingvo_lite.data.batching import bucketed_batches
from lingvo_lite.stage.files import whole_file


def _rehearsal():
  def batches(start):
    augment = SpecAugmentConfig()
    return bucketed_batches(examples(), 2, 9, augment, start_step=start)

  training = LocalTraining(
    small_model,
    any_objective,
    tff.learning.optimizers.build_adam(0.05),
    lambda number: tf.constant(0.05),
    clip_norm=1.0,
    seed=5,
  )
  return Rehearsal(RehearsalPlan(training, batches, steps=3))


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


class ProgramResumeTest(ProgramCase):
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


if __name__ == "__main__":
  tf.test.main()

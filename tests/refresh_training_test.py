"""Training whose plan follows churn: real rounds, stopped and gone on with."""

import os
import pathlib
import signal
import subprocess
import sys
import time

from absl.testing import absltest

from fl.dropout.plan import plan_of
from fl.dropout.refresh import refreshed_plan
from fl.dropout.sub_model import variable_specs
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.model_file import save_model
from lingvo_lite.models.unit_groups import unit_groups
from lingvo_lite.stage.files import read_json
from tests.command import environment, run_program
from tests.small_corpus import make_small_corpus
from tests.small_model import SMALL_MODEL

_ROUNDS = 3
_KEPT = {"block_00/ffn_start": 16, "block_00/conv": 2}


class RefreshTrainingTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = os.path.join(absltest.TEST_TMPDIR.value, "refresh")
    os.makedirs(cls.folder)
    cls.corpus = make_small_corpus(cls.folder)
    model = build_ctc_model(SMALL_MODEL)
    save_model(model, SMALL_MODEL, os.path.join(cls.folder, "m", "model.keras"))
    cls.specs, cls.groups = variable_specs(model), unit_groups(SMALL_MODEL)
    cls.plan = plan_of(
      SMALL_MODEL.to_dict(), cls.specs, cls.groups, _KEPT, "ranked"
    )
    cls.plan.write(os.path.join(cls.folder, "dropout_plan.json"))

  def arguments(self, out, hysteresis, every=1):
    return [
      "--model=m",
      "--plan=dropout_plan.json",
      f"--corpus={self.corpus}",
      f"--out={out}",
      f"--rounds={_ROUNDS}",
      "--cohort=2",
      "--local_epochs=1",
      "--rehearsal_steps=0",
      f"--evaluate_every={_ROUNDS}",
      f"--refresh_every={every}",
      f"--refresh_hysteresis={hysteresis}",
    ]

  def train(self, out, hysteresis, every=1):
    """Returns keep rates by phase, and the rounds' rows."""
    outcome = run_program(
      "fl.train_main",
      *self.arguments(out, hysteresis, every),
      folder=self.folder,
    )
    self.assertEqual(outcome.exit_status, 0, outcome.stderr)
    folder = os.path.join(self.folder, out)
    manifest = read_json(os.path.join(folder, "manifest.json"), "a manifest")
    rows = read_json(os.path.join(folder, "training.json"), "rounds")["rows"]
    self.assertEqual([row["round"] for row in rows], [*range(1, _ROUNDS + 1)])
    phases = manifest["config"]["keep_rates"]
    return [rates["all"] for rates in phases], rows

  def kill_after_rounds(self, count, out, hysteresis):
    process = subprocess.Popen(
      [sys.executable, "-m", "fl.train_main", *self.arguments(out, hysteresis)],
      stdin=subprocess.DEVNULL,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
      env=environment(self.folder),
    )
    self.addCleanup(process.kill)
    kept = pathlib.Path(self.folder, out, "workdir", "checkpoints")
    while process.poll() is None and not list(kept.glob(f"*_{count:06d}.npz")):
      time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    self.assertEqual(process.wait(), -signal.SIGKILL)

  def test_plans_are_those_of_the_churn_and_survive_a_kill(self):
    # In the second phase, so that going on must find the plan of churn again.
    self.kill_after_rounds(1, "killed", hysteresis=0.1)
    keep_rates, rows = self.train("killed", hysteresis=0.1)
    unkilled_rates, unkilled_rows = self.train("unkilled", hysteresis=0.1)
    self.assertEqual(keep_rates, unkilled_rates)
    for row in (*rows, *unkilled_rows):
      row.pop("seconds")
    self.assertEqual(rows, unkilled_rows)
    models = [
      pathlib.Path(self.folder, out, "model.keras").read_bytes()
      for out in ("killed", "unkilled")
    ]
    self.assertEqual(*models)
    plan, expected = self.plan, [self.plan.keep_rates]
    for row in rows[:-1]:
      plan = refreshed_plan(
        plan,
        self.plan.client_params,
        self.specs,
        self.groups,
        row["churn"],
        0.1,
      )
      expected.append(plan.keep_rates)
      self.assertLessEqual(plan.client_params, self.plan.client_params)
    self.assertEqual(keep_rates, expected)
    # Training moved some layer more than the first plan believed.
    self.assertNotEqual(keep_rates[0], keep_rates[1])
    for row, rates in zip(rows, keep_rates, strict=True):
      kept = {g.name: round(rates[g.name] * g.units) for g in self.groups}
      sizes = plan_of({}, self.specs, self.groups, kept, "")
      self.assertEqual(
        row["download_bytes"], 2 * sizes.download_bytes_per_client
      )
      self.assertEqual(row["upload_bytes"], 2 * sizes.upload_bytes_per_client)

  def test_hysteresis_holds_the_plan(self):
    # Every second of three rounds: the last phase is shorter.
    keep_rates, _ = self.train("held", hysteresis=1e6, every=2)
    self.assertEqual(keep_rates, [self.plan.keep_rates] * 2)


if __name__ == "__main__":
  absltest.main()

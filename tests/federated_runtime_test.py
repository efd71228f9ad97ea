"""The training program with what goes on around it: faults, noise, workers."""

import csv
import os

from absl.testing import absltest

from fl.data.cohorts import CohortSampler
from fl.dropout.plan import plan_of
from fl.dropout.sub_model import variable_specs
from fl.faults.fault_lab import FaultConfig
from fl.runtime.worker import LOOPBACK, Worker
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.model_file import save_model
from lingvo_lite.models.unit_groups import unit_groups
from lingvo_lite.stage.files import read_json
from tests.command import Outcome, run_program
from tests.small_corpus import make_small_corpus
from tests.small_model import SMALL_MODEL

_ROUNDS = 3
_CLIENTS = 4
# Of a run in which each fault befalls somebody, and nobody is left of the last
# cohort.
_SEED = 22
_FAULTS = {"dropout": 0.2, "slow": 0.2, "nan": 0.2}


class FederatedRuntimeTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = os.path.join(absltest.TEST_TMPDIR.value, "runtime")
    os.makedirs(cls.folder)
    cls.corpus = make_small_corpus(cls.folder)
    model = build_ctc_model(SMALL_MODEL)
    save_model(model, SMALL_MODEL, os.path.join(cls.folder, "m", "model.keras"))
    plan_of(
      SMALL_MODEL.to_dict(),
      variable_specs(model),
      unit_groups(SMALL_MODEL),
      # As many as leave the sub-model large enough to be compressed.
      {"block_00/ffn_start": 56},
      "ranked",
    ).write(os.path.join(cls.folder, "dropout_plan.json"))

  def train(self, out: str, *arguments: str) -> Outcome:
    return run_program(
      "fl.train_main",
      "--model=m",
      f"--corpus={self.corpus}",
      f"--out={out}",
      f"--rounds={_ROUNDS}",
      "--cohort=2",
      "--local_epochs=1",
      "--rehearsal_steps=0",
      f"--evaluate_every={_ROUNDS}",
      f"--seed={_SEED}",
      *arguments,
      folder=self.folder,
    )

  def trained(self, out: str, *arguments: str):
    """Returns the manifest and the rounds' rows."""
    outcome = self.train(out, *arguments)
    self.assertEqual(outcome.exit_status, 0, outcome.stderr)
    files = [
      read_json(os.path.join(self.folder, out, name), "what was written")
      for name in ("manifest.json", "training.json")
    ]
    return files[0], files[1]["rows"]

  def refused(self, module: str, *arguments: str) -> str:
    outcome = run_program(module, *arguments, folder=self.folder)
    self.assertEqual(outcome.exit_status, 2, outcome.stderr)
    self.assertLen(outcome.errors, 1)
    return outcome.errors[0]

  def test_private_rounds_with_faults(self):
    manifest, rows = self.trained(
      "private",
      "--privacy=gaussian",
      "--noise_multiplier=2",
      "--mask_scope=round",
      "--plan=dropout_plan.json",
      "--cohort_sampling=poisson",
      "--deadline_s=2",
      "--client_learning_rate_schedule=constant",
      "--workdir=kept",
      *(f"--fault_{name}={value}" for name, value in _FAULTS.items()),
    )
    # What befell whom follows from the seed.
    faults = FaultConfig(**_FAULTS, seed=_SEED)
    sampler = CohortSampler((1,) * _CLIENTS, 2, _SEED, "poisson")
    for number, row in enumerate(rows):
      found = [faults.fault(number, c) for c in sampler.draw(number)]
      self.assertEqual(row["clients"], found.count(None))
      self.assertEqual(row["rejected_not_finite"], found.count("nan"))
      self.assertEqual(row["dropped_clients"], found.count("dropout"))
      self.assertEqual(row["late_clients"], found.count("slow"))
      self.assertEqual(row["failed_attempts"], 0)
      self.assertEqual("loss" in row, row["clients"] > 0)
    self.assertEqual(rows[-1]["clients"], 0)
    # How the speakers fare is in the rounds that are evaluated.
    self.assertNotIn("speakers", rows[0])
    # Clients say commands alone.
    self.assertEqual([*rows[-1]["speakers"]], ["held_out_commands"])
    rates = rows[-1]["speakers"]["held_out_commands"]
    self.assertEqual(rates["speakers"], _CLIENTS)
    self.assertEqual(rates["worst_decile_speakers"], 1)
    self.assertLessEqual(rates["wer_p90"], rates["worst_decile_wer"])
    spent = [row["epsilon"] for row in rows]
    self.assertEqual(spent, sorted(set(spent)))
    self.assertGreater(spent[0], 0)
    # The table has the same.
    path = os.path.join(self.folder, "kept", "rounds.csv")
    with open(path, encoding="utf-8") as file:
      table = list(csv.DictReader(file))
    for name in ("round", "epsilon", "late_clients", "rejected_clients"):
      self.assertEqual(
        [float(line[name]) for line in table], [row[name] for row in rows]
      )
    self.assertEmpty(os.listdir(os.path.join(self.folder, "kept/checkpoints")))
    config = manifest["config"]
    self.assertEqual(config["aggregation"]["privacy"]["mechanism"], "gaussian")
    self.assertEqual(config["round_policy"]["deadline_s"], 2)
    self.assertEqual(config["round_policy"]["min_clients"], 0)
    self.assertEqual(config["faults"]["slow"], 0.2)
    self.assertEqual(config["client_learning_rate_schedule"], "constant")

    # What it trained has speakers of its own to go on with.
    outcome = run_program(
      "fl.personalize_main",
      "--model=private",
      f"--corpus={self.corpus}",
      "--local_epochs=1",
      "--out=personal",
      folder=self.folder,
    )
    self.assertEqual(outcome.exit_status, 0, outcome.stderr)
    rates = read_json(
      os.path.join(self.folder, "personal", "personalization.json"), "rates"
    )
    self.assertEqual(rates["after"]["speakers"], 2)

  def test_sums_medians_and_compression_on_sub_models_and_two_workers(self):
    workers = [Worker(1, 1) for _ in range(2)]
    for worker in workers:
      self.addCleanup(worker.close)
    addresses = ",".join(f"{LOOPBACK}:{worker.port}" for worker in workers)
    sub_models = ["--plan=dropout_plan.json", "--mask_scope=round"]
    _, secure = self.trained(
      "secure", "--secure_aggregation", f"--workers={addresses}", *sub_models
    )
    _, middle = self.trained(
      "middle", "--aggregation=median", f"--workers={addresses}", *sub_models
    )
    _, compressed = self.trained(
      "compressed",
      "--compress_updates",
      "--aggregation=clipped_mean",
      *sub_models,
    )
    for row, median, small in zip(secure, middle, compressed, strict=True):
      self.assertEqual(row["clients"], 2)
      # Of two clients the median is the mean, which all weigh the same here but
      # for how much they said.
      self.assertEqual(median["clients"], 2)
      self.assertAlmostEqual(row["loss"], median["loss"], delta=0.02)
      self.assertEqual(row["failed_attempts"], 0)
      self.assertLess(row["held_fraction"], 1)
      self.assertEqual(row["download_bytes"], small["download_bytes"])
      # A byte a value in place of four.
      self.assertBetween(small["upload_bytes"] / row["upload_bytes"], 0.25, 0.3)
    # Before the first update, the same clients find the same.
    self.assertAlmostEqual(secure[0]["loss"], compressed[0]["loss"], places=4)
    self.assertAlmostEqual(secure[0]["loss"], middle[0]["loss"], places=4)

  def test_what_cannot_be_meant_is_refused_before_speech_is_read(self):
    train = ("fl.train_main", "--model=m", "--out=refused")
    self.assertIn("--deadline_s=0", self.refused(*train, "--deadline_s=0"))
    self.assertIn(
      "twice the clipping norm",
      self.refused(
        *train, "--privacy=gaussian", "--cohort_sampling=with_replacement"
      ),
    )
    self.assertIn(
      "no Poisson samples",
      self.refused(
        *train,
        "--privacy=gaussian",
        "--cohort_sampling=poisson",
        "--min_clients=2",
      ),
    )
    self.assertNotIn("refused", os.listdir(self.folder))

  def test_a_worker_for_a_network_wants_to_be_told_that_it_is_trusted(self):
    error = self.refused("fl.worker_main", "--port=8500", "--address=0.0.0.0")
    self.assertIn("--trust_network", error)
    error = self.refused("fl.worker_main", "--port=8500", "--address=here")
    self.assertIn("expected an IP address", error)


if __name__ == "__main__":
  absltest.main()

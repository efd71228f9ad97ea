"""The round loop: what its rows say, and that looking changes nothing."""

import os

import numpy as np
import tensorflow as tf

from fl.data.cohorts import CohortSampler
from fl.dropout.sub_model import variable_specs
from fl.dropout.tiers import Tiers, one_tier
from fl.faults.round_policy import RoundPolicy
from fl.importance.churn import Churn
from fl.importance.probes import Part
from fl.privacy.ledger import PrivacyLedger
from fl.privacy.privacy_config import PrivacyConfig
from fl.processes.aggregation import AggregationConfig
from fl.program_case import ProgramCase, small_model


class ProgramTest(ProgramCase):
  def test_observing_churn_changes_nothing(self):
    folder = self.create_tempdir()
    straight, _ = self.run_program(os.path.join(folder, "straight.npz"))
    churn = Churn(
      variable_specs(small_model()), [Part("out", "group", ("out",))]
    )
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


if __name__ == "__main__":
  tf.test.main()

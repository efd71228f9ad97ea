"""A ladder of sparsities: trained in one place, by clients, and exported."""

import os

from absl.testing import absltest

from lingvo_lite.dynamic_sparsity.dynamic_model import load_dynamic
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.model_file import save_model
from lingvo_lite.stage.files import read_json
from tests.command import run_program
from tests.small_corpus import make_small_corpus
from tests.small_model import SMALL_MODEL


class FederatedLadderTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.corpus = make_small_corpus(self.folder)
    save_model(
      build_ctc_model(SMALL_MODEL),
      SMALL_MODEL,
      os.path.join(self.folder, "m", "model.keras"),
    )

  def run_step(self, module: str, *arguments: str) -> None:
    outcome = run_program(module, *arguments, folder=self.folder)
    self.assertEqual(outcome.exit_status, 0, outcome.stderr)

  def test_from_the_server_through_clients_to_a_file(self):
    self.run_step(
      "tflite_export.train_dynamic_sparsity_main",
      "--model=m",
      f"--corpus={self.corpus}",
      "--levels=0,0.5,0.8",
      "--steps=20",
      "--batch_size=4",
      "--out=ladder",
    )
    federated = [
      "--model=ladder",
      "--dynamic_sparsity",
      f"--corpus={self.corpus}",
      "--rounds=1",
      "--cohort=2",
      "--local_epochs=1",
      "--rehearsal_steps=1",
      "--out=federated",
    ]
    self.run_step("fl.train_main", *federated)
    before, _ = load_dynamic(os.path.join(self.folder, "ladder"))
    after, _ = load_dynamic(os.path.join(self.folder, "federated"))
    self.assertEqual(after.levels, before.levels)
    for name, kept in before.kept_levels.items():
      self.assertEqual(after.kept_levels[name].tobytes(), kept.tobytes())
    manifest = read_json(
      os.path.join(self.folder, "federated", "manifest.json"), "a manifest"
    )
    for key in ("levels_before", "levels_after"):
      self.assertEqual(
        list(manifest["metrics"][key]), ["s00", "s50", "s80"], key
      )
    self.run_step(
      "tflite_export.export_dynamic_sparsity_main",
      "--model=federated",
      f"--corpus={self.corpus}",
      "--out=exported",
    )
    self.assertTrue(
      os.path.exists(
        os.path.join(self.folder, "exported", "dynamic_sparsity.tflite")
      )
    )

  def test_a_model_without_a_ladder_is_refused(self):
    outcome = run_program(
      "fl.train_main",
      "--model=m",
      "--dynamic_sparsity",
      f"--corpus={self.corpus}",
      "--out=out",
      folder=self.folder,
    )
    self.assertEqual(outcome.exit_status, 2)
    self.assertLen(outcome.errors, 1)
    self.assertIn("dynamic_sparsity.json", outcome.errors[0])


if __name__ == "__main__":
  absltest.main()

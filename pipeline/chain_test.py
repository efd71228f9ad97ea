"""Tests of chain."""

import json
import os

from absl.testing import absltest

from pipeline.chain import RunFolders, build_chain
from pipeline.quickstart_config import QuickstartConfig


def _chain(**values):
  config = QuickstartConfig(
    out="out", recipes=("float32", "int8"), seed=7, **values
  )
  return build_chain(config, RunFolders(config), "corpus")


class ChainTest(absltest.TestCase):
  def test_each_stage_reads_only_what_is_there_by_then(self):
    for from_scratch in (False, True):
      chain = _chain(from_scratch=from_scratch)
      self.assertEqual(chain[0].stage == "pre-training", from_scratch)
      written = []
      for command in chain:
        for path in command.inputs:
          if path.startswith("out" + os.sep):
            with self.subTest(stage=command.stage, path=path):
              self.assertTrue(
                any(path.startswith(folder + os.sep) for folder in written)
              )
        written.append(command.folder)

  def test_default_corpus_is_left_to_the_stages(self):
    for command in _chain():
      self.assertNotIn("corpus", command.flags)

  def test_own_corpus_is_handed_on(self):
    for command in _chain(corpus="corpus"):
      self.assertEqual(command.flags["corpus"], "corpus", command.stage)

  def test_seed_reaches_every_stage_that_draws(self):
    for command in _chain():
      if command.stage not in ("dropout plan", "export"):
        self.assertEqual(command.flags["seed"], "7", command.stage)

  def test_clients_speech_goes_to_federated_training_only(self):
    users = [
      command.stage
      for command in _chain(from_scratch=True)
      if os.path.join("corpus", "clients") in command.inputs
    ]
    self.assertEqual(users, ["federated training"])

  def test_server_speech_is_rehearsed_between_rounds(self):
    (training,) = (c for c in _chain() if c.stage == "federated training")
    self.assertIn(os.path.join("corpus", "server"), training.inputs)

  def test_pruned_models_are_healed_by_clients_before_they_are_quantised(self):
    config = QuickstartConfig(
      out="out", recipes=("float32", "int4_2of4"), rounds=2
    )
    folders = RunFolders(config)
    chain = {c.stage: c for c in build_chain(config, folders, "corpus")}
    training = chain["healing of 2of4"]
    self.assertEqual(training.flags["model"], chain["pruning to 2of4"].folder)
    self.assertEqual(training.flags["keep_zeros"], "true")
    self.assertEqual(training.flags["rounds"], "2")
    last = chain["compression of 2of4"]
    self.assertEqual(last.flags["model"], training.folder)
    self.assertEqual(last.flags["recipe"], "int4_2of4")
    self.assertEqual(last.folder, "out/compressed/int4_2of4")
    # Only one recipe is left: it would get no folder of its own.
    self.assertEqual(chain["compression"].folder, "out/compressed/float32")
    self.assertNotIn("healing of 2of4", [c.stage for c in _chain()])

  def test_any_recipe_goes_its_way(self):
    path = self.create_tempfile(
      "mine.json", json.dumps({"name": "mine", "kept_of": [3, 8]})
    ).full_path
    recipes = ("float32", "int3", "mixed_2of4", "int5_3of8", path)
    config = QuickstartConfig(out="out", recipes=recipes)
    folders = RunFolders(config)
    chain = {c.stage: c for c in build_chain(config, folders, "corpus")}
    self.assertNotIn("pruning to 2of4", chain)
    # What is to be pruned of a mixed model is measured on the whole one.
    first = chain["compression"]
    self.assertEqual(first.flags["recipe"], "float32,int3,mixed_2of4")
    self.assertEqual(chain["pruning to 3of8"].flags["recipe"], "float32_3of8")
    last = chain["compression of 3of8"]
    self.assertEqual(last.flags["recipe"], f"int5_3of8,{path}")
    self.assertIn(path, last.inputs)
    self.assertEqual(
      last.artifacts, ("out/compressed/int5_3of8", "out/compressed/mine")
    )
    self.assertIn("out/compressed/mine", chain["export"].flags["model"])
    self.assertIn(
      "out/exported/mine/mine.tflite", chain["evaluation"].flags["models"]
    )

  def test_eval_speech_is_measured_on_only(self):
    users = [
      command.stage
      for command in _chain(from_scratch=True)
      if os.path.join("corpus", "eval") in command.inputs
    ]
    self.assertEqual(users, ["federated training", "evaluation"])

  def test_one_recipe_has_no_folder_of_its_own(self):
    config = QuickstartConfig(out="out")
    self.assertEqual(
      RunFolders(config).tflite("float32"), "out/exported/float32.tflite"
    )
    config = QuickstartConfig(out="out", recipes=("float32", "int8"))
    self.assertEqual(
      RunFolders(config).tflite("int8"), "out/exported/int8/int8.tflite"
    )


if __name__ == "__main__":
  absltest.main()

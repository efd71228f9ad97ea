"""The quickstart on a few utterances: from speech to words, end to end."""

import os
import pathlib
import signal
import subprocess
import sys
import time

from absl.testing import absltest

from lingvo_lite.stage.files import read_json
from tests.command import environment, run_program
from tests.small_corpus import make_small_corpus

_STAGES = [
  "importance",
  "dropout plan",
  "federated training",
  "compression",
  "pruning to 2of4",
  "healing of 2of4",
  "compression of 2of4",
  "export",
  "evaluation",
]
_RECIPES = ["float32", "int8", "int4_2of4"]


def _processes_with(text: str) -> list[str]:
  """Returns the command lines that mention a text."""
  found = []
  for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    try:
      line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
      continue
    if text in line:
      found.append(line)
  return found


class QuickstartTest(absltest.TestCase):
  """One run, interrupted, gone on with, and repeated; tests look at it."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = os.path.join(absltest.TEST_TMPDIR.value, "quickstart")
    os.makedirs(cls.folder)
    cls.corpus = make_small_corpus(cls.folder)
    cls.out = os.path.join(cls.folder, "out")
    cls.arguments = [
      f"--corpus={os.path.relpath(cls.corpus, cls.folder)}",
      "--out=out",
      "--rounds=2",
      "--cohort=2",
      f"--recipes={','.join(_RECIPES)}",
    ]
    cls.interrupted = cls._run_and_interrupt()
    cls.left = _processes_with(cls.out)
    module = "pipeline.quickstart_main"
    cls.outcome = run_program(module, *cls.arguments, folder=cls.folder)
    if cls.outcome.exit_status:
      raise AssertionError(cls.outcome.stderr)
    cls.report = read_json(os.path.join(cls.out, "report.json"), "the report")
    cls.repeated = run_program(module, *cls.arguments, folder=cls.folder)

  @classmethod
  def _run_and_interrupt(cls) -> tuple[int, str]:
    log = pathlib.Path(cls.folder, "interrupted.log")
    with log.open("wb") as file:
      process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.quickstart_main", *cls.arguments],
        stdin=subprocess.DEVNULL,
        stdout=file,
        stderr=file,
        env=environment(cls.folder),
      )
      while process.poll() is None and "importance ..." not in log.read_text():
        time.sleep(0.2)
      time.sleep(2)
      # As a service manager would; Ctrl-C does the same.
      process.send_signal(signal.SIGTERM)
      return process.wait(60), log.read_text()

  def test_interrupt_leaves_nothing_behind(self):
    status, said = self.interrupted
    self.assertEqual(status, 2, said)
    self.assertIn("run the same command again", said.splitlines()[-1])
    self.assertNotIn("Traceback", said)
    self.assertEmpty(self.left)

  def test_stages_run_once_each_and_say_so(self):
    for number, stage in enumerate(_STAGES, start=1):
      title = f"[{number}/{len(_STAGES)}] {stage}"
      self.assertIn(f"{title} ...", self.outcome.stderr)
      self.assertIn(f"{title}: done in", self.outcome.stderr)

  def test_nothing_runs_twice(self):
    self.assertEqual(self.repeated.exit_status, 0, self.repeated.stderr)
    self.assertEqual(self.repeated.stderr.count("kept, nothing"), len(_STAGES))
    self.assertNotIn("done in 0 s", self.repeated.stderr)

  def test_output_is_quiet(self):
    for noise in ("Traceback", "Warning", "WARNING", "cuda", "TF-TRT"):
      self.assertNotIn(noise, self.outcome.stderr)

  def test_report(self):
    report = self.report
    self.assertEqual(report["schema_version"], 1)
    self.assertEqual(report["server_model"], "committed")
    self.assertEqual([s["name"] for s in report["stages"]], _STAGES)
    for stage in report["stages"]:
      self.assertGreater(stage["seconds"], 0)
      self.assertBetween(stage["peak_rss_bytes"], 50e6, 6e9)
    self.assertEqual(report["corpus"]["train_clients"], 4)
    self.assertEqual(report["corpus"]["eval_speakers"], 2)
    federated = report["federated"]
    self.assertEqual((federated["rounds"], federated["cohort"]), (2, 2))
    share = federated["client_params"] / federated["server_params"]
    self.assertBetween(share, 0.65, 0.75)
    self.assertLess(
      federated["download_bytes_per_client"], 4 * federated["server_params"]
    )
    # Sixteen groups and four blocks.
    self.assertLen(report["importance"], 20)

  def test_models(self):
    models = {model["recipe"]: model for model in self.report["models"]}
    self.assertCountEqual(models, _RECIPES)
    self.assertEqual(models["float32"]["bytes_vs_float32"], 1)
    self.assertBetween(models["int8"]["bytes_vs_float32"], 0.2, 0.35)
    self.assertBetween(models["int4_2of4"]["bytes_vs_float32"], 0.1, 0.16)
    for recipe, model in models.items():
      path = os.path.join(self.out, "exported", recipe, model["file"])
      self.assertEqual(os.path.getsize(path), model["bytes"])
      self.assertEqual(sum(model["bytes_by_kind"].values()), model["bytes"])
      self.assertEqual(model["flex_ops"], 0)
      self.assertBetween(model["wer_general"], 0, 0.5)
      # The report shows what the stage measured, to the last digit.
      self.assertIn(f"{model['wer']:.3f}", self.outcome.stdout)
    # The same model, before and after conversion, on the same speech.
    self.assertAlmostEqual(
      models["float32"]["wer_general"],
      self.report["federated"]["domains"]["general"]["wer_after"],
      delta=0.02,
    )

  def test_page(self):
    with open(os.path.join(self.out, "report.html"), encoding="utf-8") as file:
      page = file.read()
    self.assertNotIn("http", page)
    self.assertIn("int8", page)

  def test_every_stage_left_a_manifest(self):
    manifests = sorted(pathlib.Path(self.out).rglob("manifest.json"))
    # The stages before compression, and what is pruned and healed.
    self.assertLen(manifests, 6 + 2 * len(_RECIPES))
    for path in manifests:
      manifest = read_json(str(path), "a manifest")
      self.assertContainsSubset(
        {"stage", "config", "seed", "inputs", "outputs", "seconds", "metrics"},
        manifest,
      )
    partial = list(pathlib.Path(self.out).rglob(".partial-*"))
    self.assertEmpty(partial)

  def test_transcribe_prints_what_was_said(self):
    chapter = next(pathlib.Path(self.corpus, "eval").glob("*/1"))
    transcripts = next(chapter.glob("*.trans.txt")).read_text()
    name, _, said = transcripts.splitlines()[0].partition(" ")
    audio = chapter / f"{name}.ogg"
    outcome = run_program(
      "tflite_export.transcribe_main",
      "--model=out/exported/int8/int8.tflite",
      str(audio),
      folder=self.folder,
    )
    self.assertEqual(outcome.exit_status, 0, outcome.stderr)
    heard = outcome.stdout.strip().removeprefix(f"{audio}: ").split()
    common = set(heard) & set(said.split())
    self.assertGreaterEqual(len(common), len(said.split()) / 2, outcome.stdout)


if __name__ == "__main__":
  absltest.main()

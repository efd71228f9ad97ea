"""Bad input on the command lines: one line, status 2, no artifact."""

import dataclasses
import json
import os
import pathlib
import shutil

import numpy as np
import soundfile
from absl.testing import absltest

from fl.importance.importance_file import (
  Measured,
  speech_digest,
  write_importance,
)
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.dynamic_sparsity.block_masks import find_block_layers
from lingvo_lite.dynamic_sparsity.dynamic_model import save_dynamic
from lingvo_lite.dynamic_sparsity.levels import SparsityLevels
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.model_file import save_model
from lingvo_lite.stage.files import read_json
from lingvo_lite.stage.manifest import sha256
from tests.command import NO_DISK, Outcome, run_on_small_disk, run_program
from tests.small_corpus import make_small_corpus
from tests.small_model import SMALL_MODEL
from tflite_export.dynamic_sparsity.layer_sparsity import uniform_sparsity
from tflite_export.dynamic_sparsity.training import prune_dynamic

_RATE_HZ = 16_000


def _copy_cut(source: str, target: str, fraction: float) -> None:
  """Copies the first part of a file."""
  contents = pathlib.Path(source).read_bytes()
  path = pathlib.Path(target)
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(contents[: int(len(contents) * fraction)])


class BadInputTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = os.path.join(absltest.TEST_TMPDIR.value, "bad_input")
    os.makedirs(cls.folder)
    cls.model = os.path.join(cls.folder, "model")
    model = build_ctc_model(SMALL_MODEL)
    save_model(model, SMALL_MODEL, os.path.join(cls.model, "model.keras"))
    save_model(model, SMALL_MODEL, os.path.join(cls.model, "initial.keras"))
    cls.corpus = make_small_corpus(cls.folder)
    cls.importance = os.path.join(cls.folder, "importance.json")
    rows = [
      {"group": name, "kind": "group", "delta": 0.0}
      for name in SMALL_MODEL.full_units()
    ]
    measured = Measured(
      SMALL_MODEL.to_dict(),
      sha256(os.path.join(cls.model, "model.keras")),
      speech_digest(load_librispeech(os.path.join(cls.corpus, "server"))),
    )
    write_importance(cls.importance, measured, 0.1, 0.05, rows, {})
    # Two programs that go well, which make what the others damage.
    cls.plan = os.path.join(cls.folder, "plan", "dropout_plan.json")
    cls.tflite = os.path.join(cls.folder, "exported", "float32.tflite")
    for module, arguments in (
      ("fl.plan_main", [*cls.plan_arguments(0.9), "--out=plan"]),
      (
        "tflite_export.compress_main",
        ["--model=model", "--recipe=float32", "--out=compressed"],
      ),
      (
        "tflite_export.export_main",
        ["--model=compressed", f"--corpus={cls.corpus}", "--out=exported"],
      ),
    ):
      outcome = run_program(module, *arguments, folder=cls.folder)
      if outcome.exit_status:
        raise AssertionError(outcome.stderr)

  @classmethod
  def plan_arguments(cls, fraction):
    return [
      "--importance=importance.json",
      "--model=model",
      f"--corpus={cls.corpus}",
      f"--client_params_fraction={fraction}",
    ]

  def setUp(self):
    super().setUp()
    self.out = os.path.join(self.create_tempdir().full_path, "out")

  def run_program(self, module: str, *arguments: str) -> Outcome:
    return run_program(module, *arguments, folder=self.folder)

  def run_into_out(self, module: str, *arguments: str) -> Outcome:
    return self.run_program(module, *arguments, f"--out={self.out}")

  def assert_refused(self, outcome: Outcome, *phrases: str) -> None:
    self.assertEqual(outcome.exit_status, 2, outcome.stderr)
    self.assertLen(outcome.errors, 1, outcome.stderr)
    self.assertNotIn("Traceback", outcome.stderr)
    for phrase in ("found", "expected", *phrases):
      self.assertIn(phrase, outcome.errors[0])
    left = [p for p in pathlib.Path(self.out).rglob("*") if p.is_file()]
    # The quickstart notes what it was about to do.
    self.assertEmpty([path for path in left if path.name != "command.json"])

  def test_command_line(self):
    outcome = self.run_into_out("fl.plan_main", *self.plan_arguments(0.9), "x")
    self.assert_refused(outcome, "'x'", "--flag=value")
    outcome = self.run_into_out("fl.plan_main", "--keep=0.5")
    self.assertEqual(outcome.exit_status, 2)
    self.assertLen(outcome.errors, 1)
    self.assertIn("keep", outcome.errors[0])

  def test_quickstart_checks_before_anything_runs(self):
    for flag, phrase in (
      ("--client_params_fraction=0", "more than 0 and at most 1"),
      ("--client_params_fraction=1.5", "at most 1"),
      ("--max_bad_fraction=5", "not a percentage"),
      ("--recipes=float32,int9", "int9"),
      ("--recipes=int8", "float32 among them"),
      (f"--corpus={self.folder}", "server"),
    ):
      with self.subTest(flag):
        outcome = self.run_into_out("pipeline.quickstart_main", flag)
        self.assert_refused(outcome, phrase)
        self.assertNotIn("[1/", outcome.stderr)

  def test_client_params_fraction(self):
    for fraction in (0, 1.5):
      with self.subTest(fraction):
        outcome = self.run_into_out(
          "fl.plan_main", *self.plan_arguments(fraction)
        )
        self.assert_refused(outcome, "client_params_fraction")

  def test_what_a_plan_is_made_from(self):
    for flags, phrase in (
      (["--client_download_bytes=9000"], "expected one budget"),
      (["--churn=churn.json"], "--importance and --churn, expected one"),
    ):
      with self.subTest(phrase):
        outcome = self.run_into_out(
          "fl.plan_main", *self.plan_arguments(0.5), *flags
        )
        self.assert_refused(outcome, phrase)

  def test_plans_of_something_else(self):
    values = read_json(self.plan, "a plan")
    path = os.path.join(self.create_tempdir().full_path, "plan.json")
    stranger = {**values["groups"][0], "group": "block_09/conv"}
    deeper = {**values["model"], "num_blocks": 9}
    for module, change, phrase in (
      ("fl.train_main", {"model": deeper}, "num_blocks 9"),
      (
        "fl.train_main",
        {"groups": [*values["groups"], stranger]},
        "block_09/conv",
      ),
      ("fl.cut_main", {"model": deeper}, "num_blocks 9"),
    ):
      with self.subTest(f"{module}, {phrase}"):
        pathlib.Path(path).write_text(json.dumps({**values, **change}))
        outcome = self.run_into_out(module, "--model=model", f"--plan={path}")
        self.assert_refused(outcome, phrase)

  def test_importances_of_something_else(self):
    values = read_json(self.importance, "importances")
    path = os.path.join(self.create_tempdir().full_path, "importance.json")
    arguments = ["--model=model", f"--corpus={self.corpus}"]
    row = {"group": "block_09/conv", "kind": "group", "delta": 0.0}
    for change, phrase in (
      ({"model_sha256": "0" * 64}, "another checkpoint"),
      ({"corpus_sha256": "0" * 64}, "another corpus"),
      ({"rows": [*values["rows"], row]}, "block_09/conv"),
    ):
      with self.subTest(phrase):
        pathlib.Path(path).write_text(json.dumps({**values, **change}))
        outcome = self.run_into_out(
          "fl.plan_main", *arguments, f"--importance={path}"
        )
        self.assert_refused(outcome, phrase)

  def test_audio(self):
    speech = 0.1 * np.random.default_rng(0).standard_normal(_RATE_HZ)
    folder = self.create_tempdir().full_path

    def write(name, samples, rate_hz=_RATE_HZ, **kwargs):
      path = os.path.join(folder, name)
      soundfile.write(path, samples, rate_hz, **kwargs)
      return path

    whole = write("whole.wav", speech)
    truncated = os.path.join(folder, "truncated.wav")
    _copy_cut(whole, truncated, 0.5)
    hour = os.path.join(folder, "hour.wav")
    with soundfile.SoundFile(hour, "w", _RATE_HZ, 1, "PCM_U8") as file:
      for _ in range(60):
        file.write(np.resize(speech, 60 * _RATE_HZ))
    many = write(
      "many.wav",
      np.repeat(np.resize(speech, [96_000, 1]), 8, axis=1),
      96_000,
      format="WAVEX",
    )
    empty = os.path.join(folder, "empty.wav")
    pathlib.Path(empty).touch()
    bad = {
      empty: "empty",
      truncated: "truncated",
      write("silent.wav", 0 * speech): "silence",
      write("sample.wav", speech[:1]): "0.0001 s",
      hour: "3600.0 s",
      write("nan.wav", np.nan * speech, subtype="FLOAT"): "not numbers",
      os.path.join(folder, "missing.wav"): "No such file",
    }
    arguments = [f"--model={self.tflite}"]
    for path, phrase in bad.items():
      with self.subTest(os.path.basename(path)):
        outcome = self.run_program(
          "tflite_export.transcribe_main", *arguments, path
        )
        self.assert_refused(outcome, path, phrase)
        self.assertEmpty(outcome.stdout)
    # A bad file does not keep the others from being heard.
    outcome = self.run_program(
      "tflite_export.transcribe_main", *arguments, whole, empty, many
    )
    self.assert_refused(outcome, empty)
    heard = [line.split(":")[0] for line in outcome.stdout.splitlines()]
    self.assertEqual(heard, [whole, many])

  def test_transcripts(self):
    corpus = os.path.join(self.create_tempdir().full_path, "corpus")
    shutil.copytree(self.corpus, corpus)
    path = sorted(pathlib.Path(corpus, "server").glob("*/*/*.trans.txt"))[0]
    lines = path.read_text().splitlines()
    first, second = (line.partition(" ")[0] for line in lines[:2])
    lines[0] = f"{first} CAFÉ 24"
    lines[1] = f"{second} " + "FAR TOO LONG " * 40
    path.write_text("\n".join(lines))
    arguments = ["--model=model", "--recipe=int4", f"--corpus={corpus}"]
    outcome = self.run_into_out(
      "tflite_export.compress_main", *arguments, "--max_bad_fraction=0"
    )
    self.assert_refused(outcome, first, "max_bad_fraction")
    outcome = self.run_into_out(
      "tflite_export.compress_main", *arguments, "--max_bad_fraction=0.5"
    )
    self.assertEqual(outcome.exit_status, 0, outcome.stderr)
    manifest = read_json(os.path.join(self.out, "manifest.json"), "manifest")
    reasons = {
      item["id"]: item["reason"] for item in manifest["skipped_utterances"]
    }
    self.assertIn("É", reasons[first])
    self.assertIn("longer than its audio", reasons[second])

  def test_models(self):
    broken = self.create_tempdir().full_path
    shutil.copy(os.path.join(self.model, "initial.keras"), broken)
    arguments = [f"--model={broken}", f"--corpus={self.corpus}"]
    outcome = self.run_into_out("fl.importance_main", *arguments)
    self.assert_refused(outcome, "no file", "model.keras")
    _copy_cut(
      os.path.join(self.model, "model.keras"),
      os.path.join(broken, "model.keras"),
      0.7,
    )
    outcome = self.run_into_out("fl.importance_main", *arguments)
    self.assert_refused(outcome, "damaged", "model.keras")

  def test_plans(self):
    arguments = ["--model=model", f"--corpus={self.corpus}"]
    broken = os.path.join(self.create_tempdir().full_path, "plan.json")
    outcome = self.run_into_out("fl.train_main", *arguments, f"--plan={broken}")
    self.assert_refused(outcome, "no file", broken)
    _copy_cut(self.plan, broken, 0.5)
    outcome = self.run_into_out("fl.train_main", *arguments, f"--plan={broken}")
    self.assert_refused(outcome, "no valid JSON", broken)
    plan = read_json(self.plan, "plan")
    plan["schema_version"] = 99
    pathlib.Path(broken).write_text(json.dumps(plan))
    outcome = self.run_into_out("fl.train_main", *arguments, f"--plan={broken}")
    self.assert_refused(outcome, "schema_version 99", "schema_version 1")
    plan["schema_version"] = 1
    # A keep rate by hand that leaves less than one of two heads.
    heads = plan["groups"][1]
    rate, heads["keep_rate"] = heads["keep_rate"], 0.3
    pathlib.Path(broken).write_text(json.dumps(plan))
    outcome = self.run_into_out("fl.train_main", *arguments, f"--plan={broken}")
    self.assert_refused(outcome, "0.6 of its 2 units", "block_00/attention")
    heads["keep_rate"] = rate
    plan["groups"][0] |= {"kept_units": 0, "keep_rate": 0.0}
    pathlib.Path(broken).write_text(json.dumps(plan))
    outcome = self.run_into_out("fl.train_main", *arguments, f"--plan={broken}")
    self.assert_refused(outcome, "0 kept units", "block_00/ffn_start")
    # Batch norm has no federated form: said before any speech is read.
    config = dataclasses.replace(SMALL_MODEL, norm="batch")
    batch_norm = self.create_tempdir().full_path
    save_model(
      build_ctc_model(config), config, os.path.join(batch_norm, "model.keras")
    )
    plan["model"] = config.to_dict()
    pathlib.Path(broken).write_text(json.dumps(plan))
    outcome = self.run_into_out(
      "fl.train_main",
      f"--model={batch_norm}",
      f"--corpus={self.corpus}",
      f"--plan={broken}",
    )
    self.assert_refused(outcome, "batch norm", "norm='group'")

  def test_a_cohort_of_more_than_there_are(self):
    outcome = self.run_into_out(
      "fl.train_main", "--model=model", f"--corpus={self.corpus}", "--cohort=99"
    )
    self.assert_refused(outcome, "a cohort of 99", "change --cohort")
    self.assertNotIn("reading the clients' speech", outcome.stderr)

  def test_device_tiers(self):
    arguments = ["--model=model", f"--corpus={self.corpus}", "--cohort=2"]
    path = os.path.join(self.create_tempdir().full_path, "tiers.json")
    tier = {"name": "phone", "cohort": 2, "speakers": ["nobody"]}
    pathlib.Path(path).write_text(
      json.dumps({"schema_version": 1, "tiers": [tier]})
    )
    outcome = self.run_into_out(
      "fl.train_main", *arguments, f"--tiers={path}", f"--plan={self.plan}"
    )
    self.assert_refused(outcome, "--plan and --tiers", "one of them")
    outcome = self.run_into_out(
      "fl.train_main", *arguments, f"--tiers={path}", "--rehearsal_steps=0"
    )
    self.assert_refused(outcome, "the speaker nobody", "the tier phone")

  def test_tflite_files(self):
    arguments = [f"--corpus={self.corpus}"]
    for name, fraction, phrase in (
      ("missing.tflite", None, "no file"),
      ("empty.tflite", 0.0, "empty"),
      ("cut.tflite", 0.6, "cut.tflite"),
    ):
      path = os.path.join(self.folder, "broken", name)
      if fraction is not None:
        _copy_cut(self.tflite, path, fraction)
      with self.subTest(name):
        outcome = self.run_into_out(
          "tflite_export.evaluate_main", f"--models={path}", *arguments
        )
        self.assert_refused(outcome, path, phrase)

  def test_sparsity_levels(self):
    train = "tflite_export.train_dynamic_sparsity_main"
    streaming = os.path.join(self.folder, "streaming")
    config = dataclasses.replace(
      SMALL_MODEL, causal=True, left_context_frames=8, chunk_frames=4
    )
    save_model(
      build_ctc_model(config), config, os.path.join(streaming, "model.keras")
    )
    for arguments, phrases in (
      (["--levels=abc"], ("--levels=abc", "numbers in [0, 1)")),
      (["--levels=0.8,0.5"], ("[0.8, 0.5]", "increasing")),
      (["--block=4"], ("blocks of 4", "--block=16")),
      ([f"--model={streaming}"], ("a model that streams", "--preset=tiny")),
    ):
      with self.subTest(arguments[0]):
        outcome = self.run_into_out(
          train, "--model=model", f"--corpus={self.corpus}", *arguments
        )
        self.assert_refused(outcome, *phrases)
        self.assertNotIn("dynamic sparsity:", outcome.stderr)
    # Importances of a model with twice the blocks.
    values = read_json(self.importance, "importances")
    values["model"]["num_blocks"] = 2
    path = os.path.join(self.create_tempdir().full_path, "importance.json")
    pathlib.Path(path).write_text(json.dumps(values))
    outcome = self.run_into_out(
      train,
      "--model=model",
      f"--corpus={self.corpus}",
      f"--importance={path}",
    )
    self.assert_refused(outcome, path, "num_blocks 2", "//fl:importance")

  def test_a_sparsity_level_that_the_file_has_not(self):
    levels = SparsityLevels((0.0, 0.5))
    model = build_ctc_model(SMALL_MODEL)
    layers = find_block_layers(model, levels.block).sparse
    ladder = os.path.join(self.folder, "ladder")
    save_dynamic(
      prune_dynamic(model, levels, uniform_sparsity(layers, levels)),
      SMALL_MODEL,
      ladder,
    )
    outcome = self.run_program(
      "tflite_export.export_dynamic_sparsity_main",
      f"--model={ladder}",
      f"--corpus={self.corpus}",
      "--out=levels",
    )
    self.assertEqual(outcome.exit_status, 0, outcome.stderr)
    path = os.path.join(self.folder, "levels", "dynamic_sparsity.tflite")
    outcome = self.run_program("tflite_export.peak_memory_main", path, "0.8")
    self.assert_refused(outcome, path, "no level 0.8", "[0.0, 0.5]")

  def test_recipes(self):
    """Refused before any speech is read: there is none here."""
    folder = self.create_tempdir().full_path
    layer = "block_00/ffn_end/expand"

    def broken(name, value, channels):
      model = build_ctc_model(SMALL_MODEL)
      kernel = model.get_layer(layer).kernel
      values = kernel.numpy()
      values[:, channels] = value
      kernel.assign(values)
      path = os.path.join(folder, name)
      save_model(model, SMALL_MODEL, os.path.join(path, "model.keras"))
      return path

    mine = os.path.join(folder, "mine.json")
    pathlib.Path(mine).write_text('{"name": "mine", "bits": 4}')
    for model, recipe, *phrases in (
      (self.model, "int4,int4_5of7", "width", "of 7", "subsampling/project"),
      (broken("nan", np.nan, [0]), "int4_2of4", f"{layer}/kernel", "numbers"),
      (broken("dead", 0.0, [5]), "int3", f"channel 5 of {layer}", "zeros"),
      (self.model, "int9", "int9", "NofM"),
      (self.model, mine, "unknown field 'bits'", mine, "weight_bits"),
    ):
      with self.subTest(recipe):
        outcome = self.run_into_out(
          "tflite_export.compress_main",
          f"--model={model}",
          f"--recipe={recipe}",
          f"--corpus={folder}",
        )
        self.assert_refused(outcome, *phrases)
        self.assertNotIn("fine-tuning", outcome.stderr)

  def test_full_disk(self):
    disk = self.create_tempdir().full_path
    outcome = run_on_small_disk(
      "tflite_export.compress_main",
      "--model=model",
      "--recipe=float32",
      f"--out={disk}/out",
      folder=self.folder,
      disk=disk,
      disk_bytes=64 * 1024,
    )
    if outcome.exit_status == NO_DISK:
      self.skipTest("2026-11: no user namespaces here, so no small disk")
    self.assert_refused(outcome, "no space left", "free some")
    self.assertEqual(outcome.stdout.splitlines()[-1].strip(), "left:")


if __name__ == "__main__":
  absltest.main()

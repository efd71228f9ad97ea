"""The steps of the layer study, each a program of this project in a folder."""

import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import logging

from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import read_json
from pipeline.stage_process import run_stage
from pipeline.stage_record import begin, describe_command, finished, keep

BASE, FULL_SIZE = "base", "full"
# What a model of its own is cut out of; see `Study.cut_rows`.
PRETRAINED, RANDOM_UNITS, NESTED_UNITS = "pre-trained", "random", "nested"
STRATEGIES = ("ranked", "uniform", "inverse")


@dataclasses.dataclass(frozen=True)
class CentralRun:
  """A model trained in one place, to be probed.

  Attributes:
    preset: its size, by name.
    norm: of its convolution modules.
    seed: of its initial values and its data.
    steps: updates.
  """

  preset: str
  norm: str
  seed: int
  steps: int

  @property
  def name(self) -> str:
    """What it is called in rows and figures."""
    return f"{self.preset}_{self.norm}_{self.seed}"


@dataclasses.dataclass(frozen=True)
class Variant:
  """A federated run with one thing changed, to tell what a plan lacks.

  Attributes:
    strategy: of its plan.
    fraction: of the full model's parameters that clients get.
    flags: of `fl.train_main`, what is changed.
  """

  strategy: str
  fraction: float
  flags: Mapping[str, str]

  @property
  def name(self) -> str:
    """What its folder is called: `ranked_0.5_rounds_60`."""
    changed = "_".join(f"{flag}_{value}" for flag, value in self.flags.items())
    return f"{self.strategy}_{self.fraction}_{changed}"


@dataclasses.dataclass(frozen=True)
class StudySize:
  """How much of the study is done.

  Attributes:
    central_runs: all but in the seed, the norm or the size like the first.
    rerand_seeds: fresh draws of each part.
    joint: most ambient groups that are reset together, at most.
    fractions: of the full model's parameters that clients get.
    federated_seeds: runs of each plan.
    federated: flags of `fl.train_main`.
    variants: compared with the runs of the first seed.
    cut: part of the parameters that a model cut out after training has.
    cohort: clients of a measured round.
    repeats: measured rounds of each plan.
  """

  central_runs: tuple[CentralRun, ...]
  rerand_seeds: int
  joint: int
  fractions: tuple[float, ...]
  federated_seeds: int
  federated: Mapping[str, str]
  variants: tuple[Variant, ...]
  cut: float
  cohort: int
  repeats: int


# Within three hours on two cores.
FULL = StudySize(
  central_runs=(
    CentralRun("tiny", "group", 0, 1000),
    CentralRun("tiny", "group", 1, 1000),
    CentralRun("tiny", "layer", 0, 1000),
    CentralRun("tiny", "batch", 0, 1000),
    CentralRun("tiny_deep", "group", 0, 1000),
  ),
  rerand_seeds=3,
  joint=4,
  fractions=(0.5, 0.25),
  federated_seeds=3,
  federated={"rounds": "20"},
  variants=(
    Variant("ranked", 0.5, {"rounds": "60"}),
    Variant("uniform", 1.0, {"rounds": "60"}),
    Variant("ranked", 0.5, {"server_learning_rate": "0.032"}),
    Variant("ranked", 0.5, {"server_learning_rate": "0.008"}),
    Variant("ranked", 0.5, {"output_scaling": "false"}),
    Variant("ranked", 0.5, {"mask_scope": "run"}),
    Variant("ranked", 0.5, {"mask_scope": "round"}),
    Variant("ranked", 0.5, {"refresh_every": "5"}),
  ),
  cut=0.5,
  cohort=6,
  repeats=5,
)
QUICK = StudySize(
  central_runs=(
    CentralRun("tiny", "group", 0, 4),
    CentralRun("tiny", "layer", 0, 4),
  ),
  rerand_seeds=1,
  joint=2,
  fractions=(0.5,),
  federated_seeds=1,
  federated={
    "rounds": "1",
    "cohort": "2",
    "local_epochs": "1",
    "rehearsal_steps": "1",
  },
  variants=(Variant("ranked", 0.5, {"mask_scope": "run"}),),
  cut=0.5,
  cohort=2,
  repeats=2,
)


class Study:
  """Runs what is not done yet and reads what came of it.

  Stopped at any moment, the same study goes on: each step leaves a record of
  the command, its inputs and the sources in its folder.

  Args:
    size: how much is done.
    model: folder of the base model, pre-trained.
    corpus: root of the speech.
    out: where each step has a folder.
  """

  def __init__(
    self, size: StudySize, model: str, corpus: str, out: str
  ) -> None:
    self.size = size
    self._model = model
    self._corpus = corpus
    self._out = out
    # By step, in the order of the study; also of those done in earlier runs.
    self._seconds: dict[str, float] = {}
    arms, runs = len(self.arms()), len(size.central_runs)
    # Probes of the base model, measured rounds, and churn of federated training
    # are a step each; a central run is trained, probed and asked for its churn.
    federated = arms * size.federated_seeds + len(size.variants)
    # Three models are cut out, compressed, exported and recognise.
    self._steps = 3 + arms + federated + 3 * 4 + 3 * runs

  @property
  def seconds(self) -> dict[str, float]:
    """What the steps so far took, by the part of the study."""
    parts: dict[str, float] = {}
    for step, seconds in self._seconds.items():
      part = step.partition("/")[0]
      parts[part] = parts.get(part, 0.0) + seconds
    return parts

  def importance(self) -> dict[str, Any]:
    """Probes the base model."""
    return read_json(self._importance(BASE, self._model), "importances")

  def plan(self, strategy: str, fraction: float) -> str:
    """Makes a plan for the base model; returns its file."""
    importance = self._importance(BASE, self._model)
    folder = self._step(
      f"plan/{strategy}_{fraction}",
      "fl.plan_main",
      [importance, _weights(self._model), self._corpus],
      importance=importance,
      model=self._model,
      corpus=self._corpus,
      strategy=strategy,
      client_params_fraction=fraction,
    )
    return os.path.join(folder, "dropout_plan.json")

  def client_round_rows(self) -> Iterator[dict[str, Any]]:
    """Measures what a round costs a client, under each plan in turns."""
    plans = [self.plan(*arm) for arm in self.arms()]
    folder = self._step(
      "client_round",
      "benchmarks.client_round_main",
      [_weights(self._model), *plans, self._corpus],
      model=self._model,
      plans=",".join(plans),
      corpus=self._corpus,
      cohort=self.size.cohort,
      repeats=self.size.repeats,
    )
    measured = read_json(
      os.path.join(folder, "client_round.json"), "measured rounds"
    )
    for (strategy, fraction), row in zip(
      self.arms(), measured["rows"], strict=True
    ):
      yield {
        **row,
        "kind": "client_round",
        "strategy": strategy if fraction < 1 else FULL_SIZE,
        "fraction": fraction,
      }

  def federated_rows(self) -> Iterator[dict[str, Any]]:
    """Trains every plan from the base model with every seed."""
    for seed in range(self.size.federated_seeds):
      for strategy, fraction in self.arms():
        folder = self._federated(strategy, fraction, seed)
        yield {
          **_federated_row("federated", strategy, fraction, folder),
          "seed": seed,
        }

  def variant_rows(self) -> Iterator[dict[str, Any]]:
    """Trains with the first seed and one thing changed."""
    for variant in self.size.variants:
      strategy, fraction = variant.strategy, variant.fraction
      folder = self._train(
        f"variant/{variant.name}", strategy, fraction, 0, variant.flags
      )
      yield {
        **_federated_row("variant", strategy, fraction, folder),
        "changed": dict(variant.flags),
      }

  def cut_rows(self) -> Iterator[dict[str, Any]]:
    """Cuts models of their own out of trained ones and measures their files.

    Out of the pre-trained model and of those whose clients had random or nested
    units of the ranked plan, all by that plan.
    """
    arm = ("ranked", self.size.cut)
    nested = {"mask_scope": "run"}
    sources = {
      PRETRAINED: self._model,
      RANDOM_UNITS: self._federated(*arm, 0),
      NESTED_UNITS: self._train(
        f"variant/{Variant(*arm, nested).name}", *arm, 0, nested
      ),
    }
    plan = self.plan(*arm)
    for name, source in sources.items():
      order = {}
      if name == NESTED_UNITS:
        order = {"unit_order": os.path.join(source, "unit_order.json")}
      cut = self._step(
        f"cut/{name}",
        "fl.cut_main",
        [_weights(source), plan, *order.values()],
        model=source,
        plan=plan,
        **order,
      )
      evaluation = self._shipped(f"cut/{name}", cut)
      manifest = _manifest(cut)
      yield {
        "kind": "cut",
        "units": name,
        "params": manifest["metrics"]["parameters"],
        "full_params": manifest["metrics"]["full_parameters"],
        **{
          key: evaluation[key]
          for key in ("bytes", "wer_general", "wer_commands", "latency_ms")
        },
      }

  def _shipped(self, name: str, model: str) -> dict[str, Any]:
    """Exports a model in float32 and measures the file on unseen speakers."""
    compressed = self._step(
      f"{name}_compressed",
      "tflite_export.compress_main",
      [_weights(model)],
      model=model,
      recipe="float32",
    )
    exported = self._step(
      f"{name}_exported",
      "tflite_export.export_main",
      [_weights(compressed), self._corpus],
      model=compressed,
      corpus=self._corpus,
    )
    file = os.path.join(exported, "float32.tflite")
    evaluated = self._step(
      f"{name}_evaluated",
      "tflite_export.evaluate_main",
      [file, self._corpus],
      models=file,
      corpus=self._corpus,
    )
    path = os.path.join(evaluated, "evaluation.json")
    return read_json(path, "what the file recognised")["models"][0]

  def arms(self) -> list[tuple[str, float]]:
    """Returns the plans that are compared; the first keeps everything."""
    return [
      ("uniform", 1.0),
      *((s, f) for f in self.size.fractions for s in STRATEGIES),
    ]

  def federated_churn(self) -> dict[str, Any]:
    """Measures churn in the full-size federated run of the first seed."""
    importance = self._importance(BASE, self._model)
    training = os.path.join(self._federated("uniform", 1.0, 0), "training.json")
    folder = self._step(
      "churn/federated",
      "fl.churn_main",
      [importance, training],
      importance=importance,
      training=training,
    )
    return read_json(os.path.join(folder, "churn.json"), "churn")

  def central(self, run: CentralRun) -> dict[str, Any]:
    """Trains centrally, then probes and measures churn.

    Returns:
      `importance` and `churn`, the values of these files, and `held_out_wer`.
    """
    folder = self._step(
      f"central/{run.name}",
      "lingvo_lite.pretrain_main",
      [self._corpus],
      preset=run.preset,
      norm=run.norm,
      seed=run.seed,
      steps=run.steps,
      corpus=self._corpus,
      keep_snapshots="true",
    )
    snapshots = os.path.join(folder, "snapshots")
    saved = [os.path.join(snapshots, n) for n in sorted(os.listdir(snapshots))]
    # The last one is the model itself.
    importance = self._importance(run.name, folder, saved[:-1])
    checkpoints = [os.path.join(folder, "initial.keras"), *saved]
    churn = self._step(
      f"churn/{run.name}",
      "fl.churn_main",
      [importance, *checkpoints],
      importance=importance,
      checkpoints=",".join(checkpoints),
    )
    return {
      "importance": read_json(importance, "importances"),
      "churn": read_json(os.path.join(churn, "churn.json"), "churn"),
      "held_out_wer": _manifest(folder)["metrics"]["held_out_wer"],
    }

  def _federated(self, strategy: str, fraction: float, seed: int) -> str:
    name = f"federated/{strategy}_{fraction}_seed_{seed}"
    return self._train(name, strategy, fraction, seed, {})

  def _train(
    self,
    name: str,
    strategy: str,
    fraction: float,
    seed: int,
    changed: Mapping[str, str],
  ) -> str:
    plan = self.plan(strategy, fraction)
    return self._step(
      name,
      "fl.train_main",
      [_weights(self._model), plan, self._corpus],
      model=self._model,
      plan=plan,
      corpus=self._corpus,
      seed=seed,
      **{**self.size.federated, **changed},
    )

  def _importance(
    self, name: str, model: str, checkpoints: Sequence[str] = ()
  ) -> str:
    folder = self._step(
      f"importance/{name}",
      "fl.importance_main",
      [
        _weights(model),
        os.path.join(model, "initial.keras"),
        *checkpoints,
        self._corpus,
      ],
      model=model,
      corpus=self._corpus,
      rerand_seeds=self.size.rerand_seeds,
      joint=self.size.joint,
      checkpoints=",".join(checkpoints),
    )
    return os.path.join(folder, "importance.json")

  def _step(
    self, name: str, module: str, inputs: Sequence[str], **flags: Any
  ) -> str:
    """Runs a program unless its folder is finished; returns the folder."""
    folder = os.path.join(self._out, name)
    if name in self._seconds:
      return folder
    given = {flag: str(value) for flag, value in flags.items()}
    description = describe_command(module, given, inputs)
    record = finished(folder, [folder], description)
    if not record:
      logging.info(
        "step %d of %d: %s", len(self._seconds) + 1, self._steps, name
      )
      begin(folder, description)
      log = os.path.join(self._out, "logs", f"{name.replace('/', '_')}.log")
      command = [sys.executable, "-m", module, f"--out={folder}"]
      command += [f"--{flag}={value}" for flag, value in given.items()]
      result = run_stage(command, log)
      if result.exit_status:
        raise InputError(
          f"found {module} ended with status {result.exit_status}, expected 0:"
          f" see {log}, and run again to go on"
        )
      record = keep(folder, description, seconds=round(result.seconds, 1))
    self._seconds[name] = record["seconds"]
    return folder


def _federated_row(
  kind: str, strategy: str, fraction: float, folder: str
) -> dict[str, Any]:
  manifest = _manifest(folder)
  return {
    "kind": kind,
    "strategy": strategy if fraction < 1 else FULL_SIZE,
    "fraction": fraction,
    "seconds": manifest["seconds"],
    **{
      name: manifest["metrics"][name]
      for name in ("client_params", "server_params", "before", "after")
    },
  }


def _weights(folder: str) -> str:
  return os.path.join(folder, "model.keras")


def _manifest(folder: str) -> dict[str, Any]:
  return read_json(os.path.join(folder, "manifest.json"), "a manifest")

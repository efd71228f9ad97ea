"""The steps of the layer study, each a program of this project in a folder."""

import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import read_json
from pipeline.stage_process import run_stage

BASE = "base"
STRATEGIES = ("ranked", "uniform", "inverse")


@dataclasses.dataclass(frozen=True)
class StudySize:
  """How much of the study is done.

  Attributes:
    steps: updates of each central run.
    central_runs: `(preset, norm, seed)` of each; the first is what the others
      are compared with.
    rerand_seeds: fresh draws of each part.
    joint: most ambient groups that are reset together, at most.
    fractions: of the full model's parameters that clients get.
    federated_seeds: runs of each plan.
    federated: flags of `fl.train_main`.
    cohort: clients of a measured round.
    repeats: measured rounds of each plan.
  """

  steps: int
  central_runs: tuple[tuple[str, str, int], ...]
  rerand_seeds: int
  joint: int
  fractions: tuple[float, ...]
  federated_seeds: int
  federated: Mapping[str, str]
  cohort: int
  repeats: int


# Within three hours on two cores.
FULL = StudySize(
  steps=1000,
  central_runs=(
    ("tiny", "group", 0),
    ("tiny", "group", 1),
    ("tiny", "group", 2),
    ("tiny", "layer", 0),
    ("tiny", "batch", 0),
    ("small", "group", 0),
  ),
  rerand_seeds=3,
  joint=4,
  fractions=(0.5, 0.25),
  federated_seeds=3,
  federated={"rounds": "16"},
  cohort=8,
  repeats=5,
)
QUICK = StudySize(
  steps=4,
  central_runs=(("tiny", "group", 0), ("tiny", "layer", 0)),
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
  cohort=2,
  repeats=2,
)


@dataclasses.dataclass(frozen=True)
class Study:
  """Runs what is not done yet and reads what came of it.

  Attributes:
    size: how much is done.
    model: folder of the base model, pre-trained.
    corpus: root of the speech.
    out: where each step has a folder.
  """

  size: StudySize
  model: str
  corpus: str
  out: str

  def importance(self) -> dict[str, Any]:
    """Probes the base model."""
    return read_json(
      os.path.join(self._importance(BASE, self.model), "importance.json"),
      "importances",
    )

  def plan(self, strategy: str, fraction: float) -> str:
    """Makes a plan for the base model; returns its file."""
    folder = self._step(
      f"plans/{strategy}_{fraction}",
      "fl.plan_main",
      importance=os.path.join(
        self._importance(BASE, self.model), "importance.json"
      ),
      model=self.model,
      corpus=self.corpus,
      strategy=strategy,
      client_params_fraction=fraction,
    )
    return os.path.join(folder, "dropout_plan.json")

  def federated_rows(self) -> Iterator[dict[str, Any]]:
    """Trains every plan from the base model with every seed."""
    for seed in range(self.size.federated_seeds):
      for strategy, fraction in self.arms():
        plan = self.plan(strategy, fraction)
        folder = self._step(
          f"federated/{strategy}_{fraction}_seed_{seed}",
          "fl.train_main",
          model=self.model,
          plan=plan,
          corpus=self.corpus,
          seed=seed,
          **self.size.federated,
        )
        manifest = _manifest(folder)
        yield {
          "kind": "federated",
          "strategy": strategy if fraction < 1 else "full",
          "fraction": fraction,
          "seed": seed,
          "seconds": manifest["seconds"],
          **{
            name: manifest["metrics"][name]
            for name in ("client_params", "server_params", "before", "after")
          },
        }

  def arms(self) -> list[tuple[str, float]]:
    """Returns the plans that are compared; the first keeps everything."""
    return [
      ("uniform", 1.0),
      *((s, f) for f in self.size.fractions for s in STRATEGIES),
    ]

  def federated_churn(self) -> dict[str, Any]:
    """Measures churn in the full-size federated run of the first seed."""
    folder = self._step(
      "churn/federated",
      "fl.churn_main",
      importance=os.path.join(
        self._importance(BASE, self.model), "importance.json"
      ),
      training=os.path.join(
        self.out, "federated", "uniform_1.0_seed_0", "training.json"
      ),
    )
    return read_json(os.path.join(folder, "churn.json"), "churn")

  def central(
    self, preset: str, norm: str, seed: int
  ) -> tuple[dict[str, Any], dict[str, Any], float]:
    """Trains centrally, then probes and measures churn.

    Returns:
      `importance.json`, `churn.json` and the held-out word error rate.
    """
    name = f"{preset}_{norm}_{seed}"
    folder = self._step(
      f"central/{name}",
      "lingvo_lite.pretrain_main",
      preset=preset,
      norm=norm,
      seed=seed,
      steps=self.size.steps,
      corpus=self.corpus,
      keep_snapshots="true",
    )
    snapshots = os.path.join(folder, "snapshots")
    saved = [os.path.join(snapshots, n) for n in sorted(os.listdir(snapshots))]
    # The last one is the model itself.
    importance = os.path.join(
      self._importance(name, folder, saved[:-1]), "importance.json"
    )
    churn = self._step(
      f"churn/{name}",
      "fl.churn_main",
      importance=importance,
      checkpoints=",".join([os.path.join(folder, "initial.keras"), *saved]),
    )
    return (
      read_json(importance, "importances"),
      read_json(os.path.join(churn, "churn.json"), "churn"),
      _manifest(folder)["metrics"]["held_out_wer"],
    )

  def _importance(
    self, name: str, model: str, checkpoints: list[str] | None = None
  ) -> str:
    return self._step(
      f"importance/{name}",
      "fl.importance_main",
      model=model,
      corpus=self.corpus,
      rerand_seeds=self.size.rerand_seeds,
      joint=self.size.joint,
      **({"checkpoints": ",".join(checkpoints)} if checkpoints else {}),
    )

  def _step(self, name: str, module: str, **flags: Any) -> str:
    """Runs a program unless its folder is finished; returns the folder."""
    folder = os.path.join(self.out, name)
    if os.path.exists(os.path.join(folder, "manifest.json")):
      return folder
    log = os.path.join(self.out, "logs", f"{name.replace('/', '_')}.log")
    command = [sys.executable, "-m", module, f"--out={folder}"]
    command += [f"--{flag}={value}" for flag, value in flags.items()]
    status = run_stage(command, log).exit_status
    if status:
      raise InputError(
        f"found {module} ended with status {status}, expected 0: see {log}, and"
        " run again to go on"
      )
    return folder


def _manifest(folder: str) -> dict[str, Any]:
  return read_json(os.path.join(folder, "manifest.json"), "a manifest")

"""The stages of a quickstart run, in order, as commands."""

import dataclasses
import os

from pipeline.quickstart_config import QuickstartConfig
from pipeline.stage_record import source_root
from tflite_export.recipe_lookup import find_recipe, is_recipe_file

# A pruned model has forgotten some of what only the clients say; they teach it
# that again before it is quantised.
_HEALING_ROUNDS = 8

_COMMITTED_MODEL = os.path.join("lingvo_lite", "pretrained", "tiny")


@dataclasses.dataclass(frozen=True)
class StageCommand:
  """One stage as a process.

  Attributes:
    stage: what the user knows it as.
    module: the main module.
    flags: its flags, without --out.
    inputs: the files and folders that it reads.
    folder: where it writes.
    artifacts: the folders, `folder` or below it, that it leaves a manifest in.
  """

  stage: str
  module: str
  flags: dict[str, str]
  inputs: tuple[str, ...]
  folder: str
  artifacts: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class RunFolders:
  """Where a run keeps what.

  Attributes:
    config: what was asked for.
  """

  config: QuickstartConfig

  @property
  def server_model(self) -> str:
    if self.config.from_scratch:
      return self._at("server_model")
    return os.path.join(source_root(), _COMMITTED_MODEL)

  @property
  def importance(self) -> str:
    return self._at("importance")

  @property
  def plan(self) -> str:
    return self._at("dropout_plan")

  @property
  def federated(self) -> str:
    return self._at("federated")

  @property
  def pruned(self) -> str:
    return self._at("pruned")

  @property
  def healed(self) -> str:
    return self._at("healed")

  @property
  def compressed(self) -> str:
    return self._at("compressed")

  @property
  def exported(self) -> str:
    return self._at("exported")

  @property
  def evaluation(self) -> str:
    return self._at("evaluation")

  @property
  def logs(self) -> str:
    return self._at("logs")

  def of_recipe(self, folder: str, recipe: str) -> str:
    """Returns where a stage writes what belongs to one recipe."""
    # The stages make folders of the recipes' names when there are several.
    several = len(self.config.recipes) > 1
    return os.path.join(folder, recipe) if several else folder

  def of_recipes(self, folder: str) -> tuple[str, ...]:
    """Returns `of_recipe` of each recipe."""
    names = self.config.recipe_names
    return tuple(self.of_recipe(folder, name) for name in names)

  def tflite(self, recipe: str) -> str:
    """Returns the file of a recipe."""
    return os.path.join(
      self.of_recipe(self.exported, recipe), f"{recipe}.tflite"
    )

  def _at(self, *parts: str) -> str:
    return os.path.join(self.config.out, *parts)


def build_chain(
  config: QuickstartConfig, folders: RunFolders, corpus: str
) -> list[StageCommand]:
  """Returns the commands of a run, each after those that it needs.

  Args:
    config: what was asked for.
    folders: where things go.
    corpus: the corpus root.
  """
  seed = {"seed": str(config.seed)}
  # A stage that is not told finds the default corpus, and knows what it is.
  given_corpus = {"corpus": corpus} if config.corpus else {}
  tolerance = {"max_bad_fraction": str(config.max_bad_fraction)}
  speech = {**given_corpus, **tolerance, **seed}
  server_speech, client_speech, eval_speech = (
    os.path.join(corpus, name) for name in ("server", "clients", "eval")
  )
  model = os.path.join(folders.server_model, "model.keras")
  initial = os.path.join(folders.server_model, "initial.keras")
  importance = os.path.join(folders.importance, "importance.json")
  plan = os.path.join(folders.plan, "dropout_plan.json")
  compressed = folders.of_recipes(folders.compressed)
  exported = folders.of_recipes(folders.exported)
  files = tuple(folders.tflite(name) for name in config.recipe_names)

  def command(stage, module, flags, inputs, folder, artifacts=None):
    return StageCommand(
      stage, module, flags, tuple(inputs), folder, artifacts or (folder,)
    )

  def train(stage, model, flags, inputs, folder):
    return command(
      stage,
      "fl.train_main",
      {"model": model, **flags, **speech, **_given(cohort=config.cohort)},
      [
        os.path.join(model, "model.keras"),
        *inputs,
        client_speech,
        server_speech,
        eval_speech,
      ],
      folder,
    )

  def compress(stage, model, recipes, folder, written):
    return command(
      stage,
      "tflite_export.compress_main",
      {"model": model, "recipe": ",".join(recipes), **speech},
      [
        os.path.join(model, "model.keras"),
        *filter(is_recipe_file, recipes),
        server_speech,
      ],
      # The stage makes no folder for a recipe that is its only one.
      written[0] if len(recipes) == 1 else folder,
      written,
    )

  def compress_asked(stage, model, recipes):
    names = [find_recipe(recipe).name for recipe in recipes]
    written = (folders.of_recipe(folders.compressed, name) for name in names)
    return compress(stage, model, recipes, folders.compressed, tuple(written))

  whole: list[str] = []
  pruned: dict[str, list[str]] = {}
  for asked in config.recipes:
    recipe = find_recipe(asked)
    # Which layers bear pruning is measured on a model that is not pruned.
    if recipe.kept_of is None or recipe.mean_bits is not None:
      whole.append(asked)
    else:
      pruned.setdefault("{}of{}".format(*recipe.kept_of), []).append(asked)
  compression = [compress_asked("compression", folders.federated, whole)]
  for name, recipes in pruned.items():
    pruned_model = os.path.join(folders.pruned, name)
    healed_model = os.path.join(folders.healed, name)
    compression += [
      compress(
        f"pruning to {name}",
        folders.federated,
        [f"float32_{name}"],
        pruned_model,
        (pruned_model,),
      ),
      train(
        f"healing of {name}",
        pruned_model,
        {
          "keep_zeros": "true",
          "rounds": str(min(config.rounds or _HEALING_ROUNDS, _HEALING_ROUNDS)),
        },
        [],
        healed_model,
      ),
      compress_asked(f"compression of {name}", healed_model, recipes),
    ]

  pretrain = command(
    "pre-training",
    "lingvo_lite.pretrain_main",
    {**speech, **_given(steps=config.pretrain_steps)},
    [server_speech],
    folders.server_model,
  )
  stages = [
    command(
      "importance",
      "fl.importance_main",
      {"model": folders.server_model, **speech},
      [model, initial, server_speech],
      folders.importance,
    ),
    command(
      "dropout plan",
      "fl.plan_main",
      {
        "importance": importance,
        "model": folders.server_model,
        "client_params_fraction": str(config.client_params_fraction),
        **given_corpus,
      },
      [importance, model, server_speech],
      folders.plan,
    ),
    train(
      "federated training",
      folders.server_model,
      {"plan": plan, **_given(rounds=config.rounds)},
      [plan],
      folders.federated,
    ),
    *compression,
    command(
      "export",
      "tflite_export.export_main",
      {"model": ",".join(compressed), **given_corpus},
      [
        *(os.path.join(folder, "model.keras") for folder in compressed),
        *(os.path.join(folder, "recipe.json") for folder in compressed),
        server_speech,
      ],
      folders.exported,
      exported,
    ),
    command(
      "evaluation",
      "tflite_export.evaluate_main",
      {"models": ",".join(files), **speech},
      [*files, eval_speech],
      folders.evaluation,
    ),
  ]
  return [pretrain, *stages] if config.from_scratch else stages


def _given(**flags: int | None) -> dict[str, str]:
  """Returns the flags that were given; a stage knows best about the others."""
  return {name: str(v) for name, v in flags.items() if v is not None}

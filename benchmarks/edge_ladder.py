"""The .tflite files that are measured, made by this project's own programs."""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence

from absl import logging

from lingvo_lite.stage.errors import InputError
from pipeline.stage_process import run_stage
from pipeline.stage_record import begin, describe_command, finished, keep


@dataclasses.dataclass(frozen=True)
class Ladder:
  """Files of one model.

  Attributes:
    streaming: paths of those that stream, in the order of the recipes.
    whole: paths of the same weights for whole utterances.
  """

  streaming: tuple[str, ...]
  whole: tuple[str, ...]


def make_ladder(
  model: str,
  recipes: Sequence[str],
  whole: Sequence[str],
  corpus: str,
  out: str,
) -> Ladder:
  """Compresses and exports a model, or finds what was made before.

  Each step leaves a record of its command, inputs and sources, and is done
  again when one of them is another.

  Args:
    model: folder of the trained model, one that streams.
    recipes: names, two or more.
    whole: those of them that are exported for whole utterances too, two or
      more.
    corpus: root of the speech.
    out: where the steps have their folders.

  Raises:
    InputError: a step failed.
  """
  compressed = _step(
    out,
    "compressed",
    "tflite_export.compress_main",
    {"model": model, "recipe": ",".join(recipes), "corpus": corpus},
    [os.path.join(model, "model.keras"), os.path.join(corpus, "server")],
    recipes,
  )
  paths = {}
  for name, kinds, flags in (
    ("streaming", recipes, {}),
    ("whole", whole, {"full_context": "true"}),
  ):
    models = [os.path.join(compressed, recipe) for recipe in kinds]
    folder = _step(
      out,
      name,
      "tflite_export.export_main",
      {"model": ",".join(models), "corpus": corpus, **flags},
      [os.path.join(one, "model.keras") for one in models],
      kinds,
    )
    paths[name] = tuple(
      os.path.join(folder, recipe, f"{recipe}.tflite") for recipe in kinds
    )
  return Ladder(**paths)


def _step(
  out: str,
  name: str,
  module: str,
  flags: Mapping[str, str],
  inputs: Sequence[str],
  recipes: Sequence[str],
) -> str:
  """Runs a program unless its folder is finished; returns the folder."""
  folder = os.path.join(out, name)
  description = describe_command(module, flags, inputs)
  artifacts = [os.path.join(folder, recipe) for recipe in recipes]
  if finished(folder, artifacts, description):
    return folder
  logging.info("making the models: %s", name)
  begin(folder, description)
  log = os.path.join(out, f"{name}.log")
  command = [sys.executable, "-m", module, f"--out={folder}"]
  command += [f"--{flag}={value}" for flag, value in flags.items()]
  result = run_stage(command, log)
  if result.exit_status:
    raise InputError(
      f"found {module} ended with status {result.exit_status}, expected 0: see"
      f" {log}, and run again"
    )
  keep(folder, description)
  return folder

"""Runs the whole pipeline: from speech to measured .tflite files and a report.

  ./bazelw run //pipeline:quickstart

Each stage is a process of its own and writes one folder below --out. Stopped at
any moment, the same command goes on; stages that are done are kept.
"""

from lingvo_lite.stage import entry_point

import os  # noqa: I001
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from absl import flags

from lingvo_lite.data.default_corpus import find_corpus
from lingvo_lite.stage.errors import InputError
from pipeline import stage_record
from pipeline.chain import RunFolders, StageCommand, build_chain
from pipeline.quickstart_config import QuickstartConfig, check_surroundings
from pipeline.report import build_report, write_report
from pipeline.report_text import models_table
from pipeline.stage_process import run_stage
from tflite_export.recipe_lookup import NAMES_IN_WORDS, is_recipe_file

_OUT = flags.DEFINE_string(
  "out",
  None,
  "Folder for everything that the run writes. Left out:"
  " lingvo_lite_runs/quickstart.",
)
_CORPUS = flags.DEFINE_string(
  "corpus",
  None,
  "Folder with server/, clients/ and eval/, each in the LibriSpeech layout."
  " Left out: the default corpus (synthetic speech).",
)
_FROM_SCRATCH = flags.DEFINE_bool(
  "from_scratch",
  False,
  "Train the server model too. Left out: begin with the committed one.",
)
_PRETRAIN_STEPS = flags.DEFINE_integer(
  "pretrain_steps", None, "Updates of that training. Left out: its own choice."
)
_CLIENT_PARAMS_FRACTION = flags.DEFINE_float(
  "client_params_fraction",
  0.75,
  "Largest share of the server model's parameters that a client is sent.",
)
_ROUNDS = flags.DEFINE_integer(
  "rounds", None, "Federated rounds. Left out: the stage's own choice."
)
_COHORT = flags.DEFINE_integer(
  "cohort", None, "Clients a round. Left out: the stage's own choice."
)
_RECIPES = flags.DEFINE_list(
  "recipes",
  ["float32", "int8", "int4", "int2", "int4_2of4"],
  f"Compression recipes, float32 among them: {NAMES_IN_WORDS}.",
)
_SEED = flags.DEFINE_integer("seed", 0, "Where all randomness comes from.")
_MAX_BAD_FRACTION = flags.DEFINE_float(
  "max_bad_fraction",
  0.05,
  "More than this fraction of unusable utterances is an error.",
)


def main(argv: Sequence[str]) -> None:
  """Runs what is not done yet, then writes and shows the report."""
  del argv
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  out = (
    entry_point.user_path(_OUT.value)
    if _OUT.value
    else entry_point.default_folder("quickstart")
  )
  config = QuickstartConfig(
    out=out,
    corpus=entry_point.user_path(_CORPUS.value) if _CORPUS.value else None,
    from_scratch=_FROM_SCRATCH.value,
    pretrain_steps=_PRETRAIN_STEPS.value,
    client_params_fraction=_CLIENT_PARAMS_FRACTION.value,
    rounds=_ROUNDS.value,
    cohort=_COHORT.value,
    recipes=tuple(
      entry_point.user_path(name) if is_recipe_file(name) else name
      for name in _RECIPES.value
    ),
    seed=_SEED.value,
    max_bad_fraction=_MAX_BAD_FRACTION.value,
  )
  check_surroundings(config)
  started = time.monotonic()
  corpus = find_corpus(config.corpus)
  folders = RunFolders(config)
  stages = _run_chain(build_chain(config, folders, corpus), folders.logs)
  report = build_report(config, folders, corpus, stages, _command())
  json_path, html_path = write_report(report, out)
  _say(f"\ndone in {(time.monotonic() - started) / 60:.1f} min\n")
  if report["corpus"]["synthetic"]:
    print("Synthetic speech; speakers heard in no training stage.\n")
  print(models_table(report))
  print(f"\nreport  {html_path}\n        {json_path}")
  print(f"models  {folders.exported}")


def _run_chain(
  commands: Sequence[StageCommand], logs: str
) -> list[dict[str, Any]]:
  """Runs each command that is not done; returns the report's `stages`."""
  stages = []
  for number, command in enumerate(commands, start=1):
    title = f"[{number}/{len(commands)}] {command.stage}"
    description = stage_record.describe_command(
      command.module, command.flags, command.inputs
    )
    record = stage_record.finished(
      command.folder, command.artifacts, description
    )
    kept = bool(record)
    if kept:
      _say(f"{title}: kept, nothing has changed since it ran")
    else:
      _say(f"{title} ...")
      record = _run_command(command, title, description, logs)
    stages.append(
      {
        "name": command.stage,
        "seconds": record["seconds"],
        "peak_rss_bytes": record["peak_rss_bytes"],
        "kept": kept,
      }
    )
  return stages


def _run_command(
  command: StageCommand, title: str, description: dict[str, Any], logs: str
) -> dict[str, Any]:
  """Runs one command and returns its record."""
  stage_record.begin(command.folder, description)
  log = os.path.join(logs, f"{command.stage.replace(' ', '_')}.log")
  result = run_stage(
    [
      sys.executable,
      "-m",
      command.module,
      *(f"--{name}={value}" for name, value in command.flags.items()),
      f"--out={command.folder}",
    ],
    log,
  )
  if result.exit_status != 0:
    raise InputError(
      f"found that {title} ended with status {result.exit_status}, expected 0:"
      f" mend what it says above ({log} holds all of it) and run the same"
      " command again; what is done is kept"
    )
  _say(
    f"{title}: done in {result.seconds:.0f} s,"
    f" {result.peak_rss_bytes / 1e9:.1f} GB of memory"
  )
  return stage_record.keep(
    command.folder,
    description,
    seconds=round(result.seconds, 1),
    peak_rss_bytes=result.peak_rss_bytes,
  )


def _command() -> str:
  """Returns the command as the user would type it."""
  return " ".join(
    ["./bazelw run //pipeline:quickstart"]
    + (["--", *sys.argv[1:]] if sys.argv[1:] else [])
  )


def _say(text: str) -> None:
  sys.stdout.flush()
  print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
  entry_point.run(main)

"""Gathers what the stages measured into report.json and report.html."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from lingvo_lite.data.default_corpus import NAME as DEFAULT_CORPUS
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.data.utterance import Utterance
from lingvo_lite.stage.files import read_json, whole_file, write_json
from lingvo_lite.stage.manifest import environment
from pipeline.chain import RunFolders
from pipeline.quickstart_config import QuickstartConfig
from pipeline.report_html import render_html

_SCHEMA_VERSION = 1
_CLIENT_DOMAIN = "commands"
_SIZES = (
  "server_params",
  "client_params",
  "download_bytes_per_client",
  "upload_bytes_per_client",
)


def build_report(
  config: QuickstartConfig,
  folders: RunFolders,
  corpus: str,
  stages: Sequence[Mapping[str, Any]],
  command: str,
) -> dict[str, Any]:
  """Returns report.json of a run whose stages are all done.

  Args:
    config: what was asked for.
    folders: where the stages wrote.
    corpus: the corpus root.
    stages: `name`, `seconds`, `peak_rss_bytes` and `kept` of each.
    command: as the user would type it.

  Raises:
    InputError: an artifact is missing or of another schema.
  """
  curve = _read(folders.server_model, "training.json", "the pre-training curve")
  importance = _read(folders.importance, "importance.json", "the importances")
  plan = _read(folders.plan, "dropout_plan.json", "the dropout plan")
  evaluation = _read(folders.evaluation, "evaluation.json", "the evaluation")
  return {
    "schema_version": _SCHEMA_VERSION,
    "environment": environment(),
    "command": command,
    "seed": config.seed,
    "server_model": "from_scratch" if config.from_scratch else "committed",
    "corpus": {**_corpus(corpus), "skipped_utterances": _skipped(folders)},
    "stages": [dict(stage) for stage in stages],
    "pretraining": {"curve": curve["rows"]},
    "importance": importance["rows"],
    "dropout_plan": plan["groups"],
    "federated": _federated(folders, plan),
    "models": evaluation["models"],
  }


def write_report(report: Mapping[str, Any], folder: str) -> tuple[str, str]:
  """Writes both files.

  Args:
    report: as `build_report` returns it.
    folder: where they go.

  Returns:
    The paths of report.json and report.html.
  """
  json_path = os.path.join(folder, "report.json")
  html_path = os.path.join(folder, "report.html")
  page = render_html(report)
  write_json(json_path, report)
  with whole_file(html_path) as temporary:
    with open(temporary, "w", encoding="utf-8") as file:
      file.write(page)
  return json_path, html_path


def _corpus(corpus: str) -> dict[str, Any]:
  """Returns what is in the three sets."""
  server, clients, unseen = (
    load_librispeech(os.path.join(corpus, name))
    for name in ("server", "clients", "eval")
  )
  name = os.path.basename(corpus)
  return {
    "name": name,
    "synthetic": name == DEFAULT_CORPUS,
    "server_speakers": _speakers(server),
    "server_utterances": len(server),
    "train_clients": _speakers(clients),
    "train_utterances": len(clients),
    "eval_speakers": _speakers(unseen),
    "eval_utterances": len(unseen),
    "eval_words": sum(len(u.transcript.split()) for u in unseen),
  }


def _federated(folders: RunFolders, plan: Mapping[str, Any]) -> dict[str, Any]:
  """Returns what the federated training did and sent."""
  curve = _read(folders.federated, "training.json", "the federated curve")
  manifest = _read(folders.federated, "manifest.json", "a manifest")
  domains = {
    key.removeprefix("eval_").removesuffix("_wer"): {
      "wer_before": before,
      "wer_after": curve["after"][key],
    }
    for key, before in curve["before"].items()
  }
  # The clients' own domain, where the corpus has it.
  headline = domains.get(_CLIENT_DOMAIN, next(iter(domains.values())))
  return {
    "rounds": manifest["config"]["rounds"],
    "cohort": manifest["config"]["cohort"],
    **{name: plan[name] for name in _SIZES},
    **headline,
    "domains": domains,
    "curve": curve["rows"],
  }


def _speakers(utterances: Sequence[Utterance]) -> int:
  return len({utterance.speaker for utterance in utterances})


def _skipped(folders: RunFolders) -> list[dict[str, str]]:
  """Returns the utterances that some stage left out, each once."""
  skipped = {}
  for folder in (
    folders.server_model,
    folders.importance,
    folders.federated,
    *folders.of_recipes(folders.compressed),
    *folders.of_recipes(folders.exported),
    folders.evaluation,
  ):
    for item in _read(folder, "manifest.json", "a manifest")[
      "skipped_utterances"
    ]:
      skipped[item["id"]] = item
  return [skipped[key] for key in sorted(skipped)]


def _read(folder: str, name: str, what: str) -> dict[str, Any]:
  return read_json(os.path.join(folder, name), what)

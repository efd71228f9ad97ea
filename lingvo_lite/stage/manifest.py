"""What made an artifact: written beside it by every stage."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from lingvo_lite.stage.files import write_json

_LIBRARIES = (
  "tensorflow",
  "keras",
  "tensorflow-federated",
  "tensorflow-model-optimization",
  "tensorflow-io",
  "ai-edge-litert",
  "ai-edge-quantizer",
  "numpy",
)


def sha256(path: str) -> str:
  """Returns the SHA-256 of a file in hexadecimal."""
  digest = hashlib.sha256()
  with open(path, "rb") as file:
    while block := file.read(1 << 20):
      digest.update(block)
  return digest.hexdigest()


def commit() -> str:
  """Returns the commit of the sources in use, or `unknown`."""
  # Under Bazel the sources are links into the user's clone.
  folder = os.path.dirname(os.path.realpath(__file__))
  try:
    found = subprocess.run(
      ["git", "-C", folder, "rev-parse", "HEAD"],
      capture_output=True,
      text=True,
      timeout=10,
      check=True,
    )
  except (OSError, subprocess.SubprocessError):
    return "unknown"
  return found.stdout.strip()


def environment() -> dict[str, Any]:
  """Returns the machine and versions that figures depend on."""
  return {
    "cpu": _cpu_name(),
    "cores": len(os.sched_getaffinity(0)),
    "commit": commit(),
    "versions": {
      "python": platform.python_version(),
      **{name: importlib.metadata.version(name) for name in _LIBRARIES},
    },
  }


def write_manifest(
  folder: str,
  *,
  stage: str,
  config: Mapping[str, Any],
  seed: int,
  inputs: Sequence[str],
  outputs: Sequence[str],
  seconds: float,
  metrics: Mapping[str, Any],
  skipped_utterances: Sequence[Mapping[str, str]] = (),
) -> None:
  """Writes `manifest.json` into a stage's folder, last of all its files.

  Args:
    folder: the stage's output folder.
    stage: the stage's name.
    config: the resolved configuration.
    seed: the seed that all randomness of the stage comes from.
    inputs: paths of the files that the stage read.
    outputs: paths of the files that the stage wrote.
    seconds: how long the stage took.
    metrics: the figures that the stage measured.
    skipped_utterances: `{"id", "reason"}` of each utterance left out.
  """
  write_json(
    os.path.join(folder, "manifest.json"),
    {
      "schema_version": 1,
      "stage": stage,
      "config": dict(config),
      "seed": seed,
      "environment": environment(),
      "inputs": _digests(inputs),
      "outputs": _digests(outputs),
      "seconds": round(seconds, 3),
      "metrics": dict(metrics),
      "skipped_utterances": list(skipped_utterances),
    },
  )


def _digests(paths: Sequence[str]) -> list[dict[str, str]]:
  return [
    {"file": os.path.basename(path), "sha256": sha256(path)} for path in paths
  ]


def _cpu_name() -> str:
  try:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
      for line in file:
        if line.startswith("model name"):
          return line.split(":", 1)[1].strip()
  except OSError:
    pass
  return platform.processor() or platform.machine()

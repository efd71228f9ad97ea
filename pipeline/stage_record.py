"""What a stage of the chain was run with, so that it need not run twice.

A record stands beside the stage's artifact. A stage is done when its record
says the same program, flags, inputs and sources as now, and everything that its
manifest lists is still there, unchanged.
"""

import contextlib
import hashlib
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import read_json, write_json
from lingvo_lite.stage.manifest import sha256

_NAME = "command.json"
_MANIFEST = "manifest.json"
_ROOT = pathlib.Path(__file__).absolute().parents[1]


def source_root() -> str:
  """Returns the folder that the project's packages are in."""
  return str(_ROOT)


def describe_command(
  module: str, flags: Mapping[str, str], inputs: Sequence[str]
) -> dict[str, Any]:
  """Describes a command so that equal descriptions give equal artifacts.

  Args:
    module: the stage's main module.
    flags: its flags.
    inputs: files and folders that it reads. A file counts by its contents, a
      folder (speech, which may be large) by the names, sizes and times in it.

  Returns:
    A JSON value.
  """
  return {
    "schema_version": 1,
    "module": module,
    "flags": dict(flags),
    "inputs": {path: _digest(path) for path in inputs},
    "sources": _sources_digest(module.partition(".")[0]),
  }


def finished(
  folder: str, artifacts: Sequence[str], description: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns the record of a stage that is done, or an empty one.

  Args:
    folder: the stage's folder.
    artifacts: the folders that it leaves a manifest in.
    description: the command as it would be run now.

  Returns:
    What `keep` was given, when nothing has changed since; otherwise `{}`.
  """
  try:
    record = read_json(os.path.join(folder, _NAME), "the record of a stage")
    if record.get("command") != description or not record.get("finished"):
      return {}
    for artifact in artifacts:
      manifest = read_json(os.path.join(artifact, _MANIFEST), "a manifest")
      for output in manifest["outputs"]:
        path = os.path.join(artifact, output["file"])
        if sha256(path) != output["sha256"]:
          return {}
  except (InputError, OSError, KeyError, TypeError):
    return {}
  return record


def begin(folder: str, description: Mapping[str, Any]) -> None:
  """Prepares a stage's folder before it runs.

  What another command left there is removed; what the same command left, when
  it was stopped, stays, so that the stage can go on from it.

  Args:
    folder: the stage's folder, made if it does not exist.
    description: the command.

  Raises:
    InputError: there is something in the folder that no stage put there.
  """
  path = os.path.join(folder, _NAME)
  if os.path.isdir(folder) and os.listdir(folder):
    if not os.path.isfile(path):
      raise InputError(
        f"found {folder} in use by something else, expected it empty or written"
        " by an earlier run: name another --out"
      )
    before: dict[str, Any] = {}
    with contextlib.suppress(InputError):
      before = read_json(path, "the record of a stage")
    if before.get("command") != description:
      shutil.rmtree(folder)
  _write(path, description, finished=False)


def keep(
  folder: str, description: Mapping[str, Any], **figures: Any
) -> dict[str, Any]:
  """Writes the record of a stage that went well and returns it."""
  return _write(
    os.path.join(folder, _NAME), description, finished=True, **figures
  )


def _write(
  path: str, description: Mapping[str, Any], **values: Any
) -> dict[str, Any]:
  record = {"schema_version": 1, "command": dict(description), **values}
  write_json(path, record)
  return record


def _digest(path: str) -> str:
  if not os.path.isdir(path):
    return sha256(path)
  digest = hashlib.sha256()
  for folder, names, files in os.walk(path):
    names.sort()
    for name in sorted(files):
      file = os.path.join(folder, name)
      state = os.stat(file)
      entry = (os.path.relpath(file, path), state.st_size, state.st_mtime_ns)
      digest.update(repr(entry).encode())
  return digest.hexdigest()


def _sources_digest(package: str) -> str:
  """Digests the code that a stage runs: its package and the library's."""
  digest = hashlib.sha256()
  for name in sorted({package, "lingvo_lite"}):
    for path in sorted((_ROOT / name).rglob("*.py")):
      if not path.name.endswith("_test.py"):
        digest.update(path.relative_to(_ROOT).as_posix().encode())
        digest.update(path.read_bytes())
  return digest.hexdigest()

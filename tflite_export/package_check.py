"""Is a package whole, unchanged and safe to use? Asked before it is used."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from typing import Any

from lingvo_lite.stage.errors import InputError
from tflite_export.flatbuffer import read_flatbuffer
from tflite_export.flatbuffer_seal import LABELS, check_seal, read_metadata
from tflite_export.package_files import (
  MAX_TOTAL_BYTES,
  PackageFiles,
  open_package,
)
from tflite_export.signatures import check_signatures, read_signatures

SCHEMA_VERSION = 1
INDEX = "package.json"
LABELS_FILE = "labels.txt"
MODEL_CARD = "model_card.md"
LICENCE = "LICENSE"
_MAX_INDEX_BYTES = 1 << 20
_NEEDED = (LABELS_FILE, MODEL_CARD, LICENCE)
_MEND = "get the package again from its maker"


@dataclasses.dataclass(frozen=True)
class CheckedModel:
  """A model of a package that passed all checks.

  Attributes:
    recipe: how it was compressed, its name in the package.
    file: its name in the package.
    size: of the .tflite file, bytes.
    chunk_samples: of a stream; None: it takes whole utterances only.
  """

  recipe: str
  file: str
  size: int
  chunk_samples: int | None


def check_package(path: str) -> list[CheckedModel]:
  """Checks a package without running anything of it.

  Every file is listed, with its size and SHA-256, and no other is there; the
  models are sound flatbuffers of built-in operations with the signatures,
  shapes and labels that the package tells. One model at a time is in memory,
  and all files together are bounded. The hashes tell an accident; they do
  not tell who made the package.

  Args:
    path: a folder or a zip archive.

  Returns:
    The models, in the package's order.

  Raises:
    InputError: something is wrong; the package must not be used.
  """
  try:
    with open_package(path) as files:
      return _check(files)
  except InputError as error:
    raise InputError(f"{path}: {error}") from None


def _check(files: PackageFiles) -> list[CheckedModel]:
  names = files.names()
  if INDEX not in names:
    raise InputError(f"found no {INDEX}, expected a package: {_MEND}")
  index = _read_index(files)
  listed = _field(index, "files", dict)
  missing = sorted({*listed, *_NEEDED} - set(names))
  unknown = sorted(set(names) - set(listed) - {INDEX})
  if missing or unknown:
    raise InputError(
      f"found {len(missing)} files missing and {len(unknown)} not listed (such"
      f" as {[*missing, *unknown][0]!r}), expected those of {INDEX}: {_MEND}"
    )
  sizes = {name: _size(name, entry) for name, entry in listed.items()}
  if sum(sizes.values()) > MAX_TOTAL_BYTES:
    raise InputError(
      f"found {sum(sizes.values())} bytes in all files, expected at most"
      f" {MAX_TOTAL_BYTES}: {_MEND}"
    )
  for name in listed:
    for _ in _blocks(files, name, listed[name]):
      pass
  labels = _field(index, "labels", list)
  told = _lines(labels)
  # Its size is bounded by that of the index, where the same labels are.
  if sizes[LABELS_FILE] != len(told) or told != b"".join(
    _blocks(files, LABELS_FILE, listed[LABELS_FILE])
  ):
    raise InputError(
      f"found other labels in {LABELS_FILE} than in {INDEX}, expected the same:"
      f" {_MEND}"
    )
  models = _field(index, "models", list)
  if not models:
    raise InputError(f"found no model, expected one or more: {_MEND}")
  checked = []
  for entry in models:
    if not isinstance(entry, dict):
      raise InputError(f"found a model that is no object in {INDEX}: {_MEND}")
    file = _field(entry, "file", str)
    if file not in listed:
      raise InputError(
        f"found the model {file[:80]!r}, which is not in the package: {_MEND}"
      )
    # Read once more, and compared with its hash once more.
    contents = b"".join(_blocks(files, file, listed[file]))
    checked.append(_check_model(entry, file, contents, labels))
  return checked


def _check_model(
  entry: dict[str, Any], file: str, contents: bytes, labels: list[Any]
) -> CheckedModel:
  try:
    check_seal(contents)
    if read_metadata(contents, LABELS) != _lines(labels):
      raise InputError(
        f"found a model with other labels than the package, expected the same:"
        f" {_MEND}"
      )
    signatures = read_signatures(read_flatbuffer(contents))
    if signatures != entry.get("signatures"):
      raise InputError(
        f"found a model with other signatures than {INDEX} tells, expected the"
        f" same: {_MEND}"
      )
    samples = check_signatures(signatures, len(labels) + 1)
  except InputError as error:
    raise InputError(f"{file}: {error}") from None
  recipe = _field(entry, "recipe", str)
  return CheckedModel(recipe, file, len(contents), samples)


def _read_index(files: PackageFiles) -> dict[str, Any]:
  text = b"".join(files.blocks(INDEX, _MAX_INDEX_BYTES))
  try:
    index = json.loads(text)
  except (ValueError, RecursionError):
    raise InputError(
      f"found {INDEX} to be no valid JSON, expected it: {_MEND}"
    ) from None
  version = index.get("schema_version") if isinstance(index, dict) else None
  if version != SCHEMA_VERSION or isinstance(version, bool):
    raise InputError(
      f"found schema_version {str(version)[:20]} in {INDEX}, expected"
      f" {SCHEMA_VERSION}: use the release that made the package"
    )
  return index


def _size(name: str, listed: Any) -> int:
  if not isinstance(listed, dict):
    raise InputError(f"found no size and hash of {name!r}, expected: {_MEND}")
  size = _field(listed, "bytes", int)
  if not 0 <= size <= MAX_TOTAL_BYTES:
    raise InputError(
      f"found {str(size)[:20]} bytes for {name!r}, expected at most"
      f" {MAX_TOTAL_BYTES}: {_MEND}"
    )
  return size


def _blocks(
  files: PackageFiles, name: str, listed: dict[str, Any]
) -> Iterator[bytes]:
  """Yields a file in pieces; at its end, whether it is as it was packed."""
  size, digest = 0, hashlib.sha256()
  for block in files.blocks(name, listed["bytes"]):
    size += len(block)
    digest.update(block)
    yield block
  if size != listed["bytes"] or digest.hexdigest() != listed.get("sha256"):
    raise InputError(
      f"found {name!r} changed (its size or SHA-256 does not match), expected"
      f" it as it was packed: {_MEND}"
    )


def _field(values: dict[str, Any], name: str, kind: type) -> Any:
  value = values.get(name)
  if not isinstance(value, kind) or isinstance(value, bool):
    raise InputError(
      f"found no {name!r} of the kind {kind.__name__} in {INDEX}, expected it:"
      f" {_MEND}"
    )
  return value


def _lines(labels: list[Any]) -> bytes:
  if not all(isinstance(label, str) for label in labels):
    raise InputError(f"found labels that are no texts in {INDEX}: {_MEND}")
  return "\n".join(labels).encode("utf-8", "surrogatepass")

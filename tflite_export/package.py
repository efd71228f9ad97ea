"""Puts a ladder of .tflite files into a package that an app can ship."""

import hashlib
import json
import os
import pathlib
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence

from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import whole_file
from tflite_export.flatbuffer import read_flatbuffer
from tflite_export.flatbuffer_seal import check_seal
from tflite_export.model_card import MeasuredModel, write_model_card
from tflite_export.package_check import (
  INDEX,
  LABELS_FILE,
  LICENCE,
  MODEL_CARD,
  SCHEMA_VERSION,
  check_package,
)
from tflite_export.signatures import check_signatures, read_signatures

_LICENCE = pathlib.Path(__file__).resolve().parents[1] / "LICENSE"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build_package(
  paths: Sequence[str],
  models: Sequence[MeasuredModel],
  labels: Sequence[str],
  description: Mapping[str, object],
  measured_on: str,
  out: str,
) -> None:
  """Writes a package, and checks it as its users will.

  The same files and figures always give the same bytes.

  Args:
    paths: the .tflite files, in the order of `models`.
    models: their figures.
    labels: that all of them write.
    description: that of the first file.
    measured_on: the speech of the error rates, in words.
    out: a folder that is not there yet or is empty, or a path ending in .zip.

  Raises:
    InputError: `out` is taken, or the package would not pass its own check.
  """
  contents: dict[str, bytes] = {
    LABELS_FILE: "\n".join(labels).encode(),
    MODEL_CARD: write_model_card(models, description, measured_on).encode(),
    LICENCE: _LICENCE.read_bytes(),
  }
  entries = []
  for path, model in zip(paths, models, strict=True):
    file = pathlib.Path(path).read_bytes()
    check_seal(file)
    contents[model.file] = file
    signatures = read_signatures(read_flatbuffer(file))
    entries.append(
      {
        "recipe": model.recipe,
        "file": model.file,
        "chunk_samples": check_signatures(signatures, len(labels) + 1),
        "wer": round(model.accuracy_by_group["all"].wer, 5),
        "rtf": round(model.rtf, 5),
        "signatures": signatures,
      }
    )
  index = {
    "schema_version": SCHEMA_VERSION,
    "licence": description.get("licence"),
    "sample_rate_hz": description.get("sample_rate_hz"),
    "labels": list(labels),
    "models": entries,
    "files": {
      name: {
        "bytes": len(file),
        "sha256": hashlib.sha256(file).hexdigest(),
      }
      for name, file in sorted(contents.items())
    },
  }
  contents[INDEX] = (json.dumps(index, indent=1) + "\n").encode()
  if out.endswith(".zip"):
    _write_archive(contents, out)
  else:
    _write_folder(contents, out)


def _write_archive(contents: Mapping[str, bytes], out: str) -> None:
  with whole_file(out) as temporary:
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
      for name in sorted(contents):
        member = zipfile.ZipInfo(name, _EPOCH)
        member.compress_type = zipfile.ZIP_DEFLATED
        member.external_attr = 0o644 << 16
        archive.writestr(member, contents[name])
    check_package(temporary)


def _write_folder(contents: Mapping[str, bytes], out: str) -> None:
  if os.path.isdir(out) and os.listdir(out):
    raise InputError(
      f"found files in {out}, expected a folder to write a package into: name a"
      " new one"
    )
  above = os.path.dirname(os.path.abspath(out))
  os.makedirs(above, exist_ok=True)
  partial = tempfile.mkdtemp(prefix=".partial-", dir=above)
  try:
    for name, file in contents.items():
      path = pathlib.Path(partial, name)
      path.parent.mkdir(exist_ok=True)
      path.write_bytes(file)
    check_package(partial)
    os.chmod(partial, 0o755)
    if os.path.isdir(out):
      os.rmdir(out)
    os.rename(partial, out)
  finally:
    shutil.rmtree(partial, ignore_errors=True)

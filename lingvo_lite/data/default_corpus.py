"""The corpus that comes with the project: synthetic speech, one archive."""

import hashlib
import os
import pathlib
import shutil
import tarfile
import tempfile

from lingvo_lite.stage.errors import InputError

NAME = "lingvo_lite_synthetic_speech_1"

_ARCHIVE = pathlib.Path(__file__).with_name("default_corpus.tar")
_SHA256 = "5eed43fb543d61906058a2f551913bce4e91cfe6e8824f74a065e51382440650"


def extract_default_corpus(folder: str) -> str:
  """Extracts the default corpus, once.

  The corpus appears whole or not at all; when it is there already, nothing is
  read.

  Args:
    folder: where the corpus folder goes; made if it does not exist.

  Returns:
    The corpus root, with `server/`, `clients/` and `eval/`, each in the
    LibriSpeech layout.

  Raises:
    InputError: if the committed archive is missing or is not the right one.
  """
  root = os.path.join(folder, NAME)
  if os.path.isdir(root):
    return root
  _check_archive()
  os.makedirs(folder, exist_ok=True)
  partial = tempfile.mkdtemp(prefix=NAME + ".", dir=folder)
  try:
    with tarfile.open(_ARCHIVE) as archive:
      archive.extractall(partial)
    os.chmod(partial, 0o755)
    try:
      os.rename(partial, root)
    except OSError:
      # Another process may have been first; then its copy is as good.
      if not os.path.isdir(root):
        raise
  finally:
    shutil.rmtree(partial, ignore_errors=True)
  return root


def _check_archive() -> None:
  """Raises InputError unless the archive is the one that was committed."""
  mend = "restore it, for example with `git checkout`"
  try:
    with open(_ARCHIVE, "rb") as file:
      found = hashlib.file_digest(file, "sha256").hexdigest()
  except OSError as error:
    raise InputError(
      f"{_ARCHIVE}: found no readable archive ({error.strerror}), expected "
      f"the default corpus: {mend}"
    ) from None
  if found != _SHA256:
    raise InputError(
      f"{_ARCHIVE}: found SHA-256 {found[:12]}…, expected {_SHA256[:12]}…: "
      + mend
    )

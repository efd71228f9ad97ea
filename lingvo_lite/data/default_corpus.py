"""The corpus that comes with the project: synthetic speech, one archive."""

import hashlib
import os
import pathlib
import shutil
import tarfile
import tempfile

from lingvo_lite.stage import entry_point
from lingvo_lite.stage.errors import InputError

NAME = "lingvo_lite_synthetic_speech_1"

_ARCHIVE = pathlib.Path(__file__).with_name("default_corpus.tar")
_SHA256 = "5eed43fb543d61906058a2f551913bce4e91cfe6e8824f74a065e51382440650"


def find_corpus(given: str | None) -> str:
  """Returns the root of the corpus that a user named, or of the default one.

  Args:
    given: the value of --corpus; None: the default corpus, extracted below the
      user's `lingvo_lite_runs` unless it is there.

  Raises:
    InputError: see `extract_default_corpus`.
  """
  if given:
    return entry_point.user_path(given)
  return extract_default_corpus(entry_point.default_folder("corpus"))


def corpus_description(given: str | None) -> str:
  """Returns what a file says that its model learned from.

  Args:
    given: as for `find_corpus`.
  """
  if given:
    return os.path.basename(entry_point.user_path(given))
  return f"synthetic speech ({NAME})"


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

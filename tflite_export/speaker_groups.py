"""Which groups of speakers a corpus knows, from its SPEAKERS.TXT."""

import os

from lingvo_lite.stage.errors import InputError

_GROUPING = ("SEX", "ACCENT")
# The columns of LibriSpeech, whose own file names them in a longer comment.
_COLUMNS = ("ID", "SEX", "SUBSET")


def read_speaker_groups(corpus: str) -> dict[str, tuple[str, ...]]:
  """Reads the groups that each speaker belongs to.

  Args:
    corpus: folder with SPEAKERS.TXT: lines of `|`-parted columns, comments
      after `;`, of which one may name the columns.

  Returns:
    Speaker to groups, as `("sex F", "accent en-gb")`; empty without the file.

  Raises:
    InputError: the file is no text.
  """
  path = os.path.join(corpus, "SPEAKERS.TXT")
  if not os.path.isfile(path):
    return {}
  columns: tuple[str, ...] = _COLUMNS
  groups = {}
  try:
    with open(path, encoding="utf-8") as file:
      lines = file.read().splitlines()
  except UnicodeDecodeError:
    raise InputError(
      f"found {path} to be no UTF-8 text, expected lines as ID | SEX | SUBSET"
    ) from None
  for line in lines:
    fields = [field.strip() for field in line.lstrip("; ").split("|")]
    if line.startswith(";"):
      if fields[0] == "ID" and len(fields) > 1:
        columns = tuple(fields)
      continue
    known = dict(zip(columns, fields, strict=False))
    groups[fields[0]] = tuple(
      f"{name.lower()} {known[name]}" for name in _GROUPING if known.get(name)
    )
  return groups

"""The characters that a model writes, and their ids."""

import string
from collections.abc import Iterable

from lingvo_lite.stage.errors import InputError

_CHARACTERS = (" ", "'", *string.ascii_uppercase)


class CharacterVocabulary:
  """Space, apostrophe and A-Z as ids 0..27, and the CTC blank, 28, last."""

  @property
  def labels(self) -> tuple[str, ...]:
    """The characters in the order of their ids, without the blank."""
    return _CHARACTERS

  @property
  def blank_id(self) -> int:
    """The id of the CTC blank."""
    return len(_CHARACTERS)

  @property
  def size(self) -> int:
    """V, the number of logits: every character and the blank."""
    return len(_CHARACTERS) + 1

  def encode(self, text: str) -> list[int]:
    """Returns the ids of a normalised text.

    Args:
      text: what `normalization.normalize` returns.

    Returns:
      One id a character.

    Raises:
      InputError: if a character has no id.
    """
    unknown = sorted(set(text) - set(_CHARACTERS))
    if unknown:
      shown = " ".join(repr(character) for character in unknown[:8])
      raise InputError(
        f"unknown characters {shown} in a transcript; expected A-Z, space "
        "and apostrophe: spell numbers out and remove punctuation"
      )
    return [_CHARACTERS.index(character) for character in text]

  def decode(self, ids: Iterable[int]) -> str:
    """Returns the text of `ids`, from which blanks were removed before.

    Args:
      ids: ids in 0..27.

    Returns:
      The text.

    Raises:
      InputError: if an id names no character.
    """
    ids = [int(i) for i in ids]
    wrong = [i for i in ids if not 0 <= i < len(_CHARACTERS)]
    if wrong:
      raise InputError(
        f"label id {wrong[0]} names no character; expected 0 to "
        f"{len(_CHARACTERS) - 1}: remove blanks before decoding"
      )
    return "".join(_CHARACTERS[i] for i in ids)

"""Text normalisation: the one spelling that transcripts and scoring share."""

import unicodedata

_APOSTROPHES = "\u2018\u2019\u02bc\u2032\u0060\u00b4\uff07"
_TO_ASCII_APOSTROPHE = str.maketrans({mark: "'" for mark in _APOSTROPHES})


def normalize(text: str) -> str:
  """Returns `text` in upper case, with single spaces and ASCII apostrophes.

  Nothing else changes: digits, punctuation and accents stay, so that the
  vocabulary can name what it does not know rather than see it vanish.

  Args:
    text: any text, for example one transcript.

  Returns:
    The normalised text; normalising it again changes nothing.
  """
  # Apostrophes first: compatibility forms of some are a space and an accent.
  text = text.translate(_TO_ASCII_APOSTROPHE)
  return " ".join(unicodedata.normalize("NFC", text).upper().split())

"""The error that a user can mend."""


class InputError(ValueError):
  """Input that cannot be used, told in one line.

  The message says what was found, what was expected and how to mend it. Every
  stage prints it alone, without a traceback, and exits with status 2.
  """

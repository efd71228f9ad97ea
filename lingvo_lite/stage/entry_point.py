"""How every stage starts and how it fails.

Import this module before any other in a `*_main.py`: TensorFlow reads its log
level when it is loaded.
"""

import errno
import os
import sys
import warnings
from collections.abc import Callable, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Eigen's and oneDNN's pools would each take a core and fight; one is enough.
os.environ.setdefault("KMP_BLOCKTIME", "0")
warnings.filterwarnings("ignore", category=DeprecationWarning)
warnings.filterwarnings("ignore", category=FutureWarning)
warnings.filterwarnings("ignore", category=UserWarning, module="keras")

from absl import app, flags, logging  # noqa: E402

from lingvo_lite.stage.errors import InputError  # noqa: E402

_EXIT_BAD_INPUT = 2


def user_path(path: str) -> str:
  """Resolves a path as the user meant it.

  `bazel run` starts the program inside its runfiles folder and leaves the
  folder where the user stood in BUILD_WORKING_DIRECTORY.

  Args:
    path: a path from a flag; absolute, relative, or beginning with `~`.

  Returns:
    The absolute path.
  """
  base = os.environ.get("BUILD_WORKING_DIRECTORY", os.getcwd())
  return os.path.normpath(os.path.join(base, os.path.expanduser(path)))


def default_folder(*parts: str) -> str:
  """Returns a folder below the user's `lingvo_lite_runs`, made or not."""
  return user_path(os.path.join("lingvo_lite_runs", *parts))


def run(
  main: Callable[[Sequence[str]], None], positional: bool = False
) -> None:
  """Parses the flags, runs `main` and turns bad input into one line.

  Args:
    main: called with the arguments that are not flags.
    positional: whether arguments that are not flags are allowed.
  """

  def guarded(argv: Sequence[str]) -> int:
    try:
      if len(argv) > 1 and not positional:
        raise InputError(
          f"found the argument {argv[1]!r}, expected flags only: write it as"
          " --flag=value (--help lists the flags)"
        )
      _quieten_tensorflow()
      main(argv)
    except InputError as error:
      return _fail(str(error))
    except OSError as error:
      if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _fail(
          f"found no space left on the disk while writing {error.filename},"
          " expected room for the artifact: free some and run again"
        )
      if error.errno in (errno.EACCES, errno.EROFS, errno.ENOTDIR):
        return _fail(
          f"found that {error.filename} cannot be written ({error.strerror}),"
          " expected a folder of yours: name another one"
        )
      raise
    except KeyboardInterrupt:
      return _fail("interrupted; run the same command again to go on")
    return 0

  logging.set_verbosity(logging.INFO)
  logging.get_absl_handler().setFormatter(_OneLineFormatter())
  app.run(guarded, flags_parser=_parse_flags)


class _OneLineFormatter(logging.PythonFormatter):
  """`12:03:04 message`: a person reads this, not a log collector."""

  def __init__(self):
    super().__init__()
    self.datefmt = "%H:%M:%S"

  def format(self, record):
    level = record.levelname.lower()
    prefix = "" if level == "info" else f"{level}: "
    time = self.formatTime(record, self.datefmt)
    return f"{time} {prefix}{record.getMessage()}"


def _parse_flags(argv: Sequence[str]) -> Sequence[str]:
  try:
    return flags.FLAGS(list(argv))
  except flags.Error as error:
    sys.exit(_fail(str(error).replace("\n", " ") + "; --help lists the flags"))


def _fail(message: str) -> int:
  sys.stdout.flush()
  print("error: " + " ".join(message.split()), file=sys.stderr)
  return _EXIT_BAD_INPUT


def _quieten_tensorflow() -> None:
  # Only where a stage has loaded it: transcription needs no TensorFlow.
  if "tensorflow" in sys.modules:
    sys.modules["tensorflow"].get_logger().setLevel("ERROR")

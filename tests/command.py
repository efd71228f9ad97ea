"""Runs the project's programs as a user does, for tests."""

import dataclasses
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

_ROOT = pathlib.Path(__file__).absolute().parents[1]

# A disk of its own, seen by this command only and gone with it; what is left on
# it is listed at the end.
_ON_SMALL_DISK = """
disk="$1"; bytes="$2"; shift 2
mount -t tmpfs -o "size=${bytes}" none "${disk}" || exit 77
"$@"
status=$?
echo "left: $(find "${disk}" -type f | sort | tr '\\n' ' ')"
exit "${status}"
"""
NO_DISK = 77


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What a program did.

  Attributes:
    exit_status: 0 when it went well, 2 on bad input.
    stdout: what it printed.
    stderr: what it said meanwhile.
  """

  exit_status: int
  stdout: str
  stderr: str

  @property
  def errors(self) -> list[str]:
    """The lines that say what is wrong."""
    return [
      line for line in self.stderr.splitlines() if line.startswith("error: ")
    ]


def run_program(module: str, *arguments: str, folder: str) -> Outcome:
  """Runs a main module.

  Args:
    module: its name.
    *arguments: of the command line.
    folder: where the user stands; it is written to.
  """
  return _run([sys.executable, "-m", module, *arguments], folder)


def run_on_small_disk(
  module: str, *arguments: str, folder: str, disk: str, disk_bytes: int
) -> Outcome:
  """As `run_program`, with a folder that is a disk of little room.

  Args:
    module: its name.
    *arguments: of the command line.
    folder: where the user stands.
    disk: an empty folder, which the disk is put on.
    disk_bytes: its size.

  Returns:
    The outcome; its last line lists the files left on the disk. The status is
    `NO_DISK` where this machine lets nobody make one.
  """
  program = [sys.executable, "-m", module, *arguments]
  outcome = _run(
    ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    + [_ON_SMALL_DISK, "sh", disk, str(disk_bytes), *program],
    folder,
  )
  if "unshare" in outcome.stderr:
    return dataclasses.replace(outcome, exit_status=NO_DISK)
  return outcome


def environment(folder: str) -> dict[str, str]:
  """Returns the environment variables of a program.

  Args:
    folder: where the user stands.
  """
  return {
    **os.environ,
    "BUILD_WORKING_DIRECTORY": folder,
    "PYTHONPATH": os.pathsep.join([str(_ROOT), *sys.path[1:]]),
  }


def _run(command: Sequence[str], folder: str) -> Outcome:
  # To a file: a process that outlives the program may hold a pipe open.
  outputs = [pathlib.Path(folder, name) for name in ("stdout", "stderr")]
  with outputs[0].open("wb") as stdout, outputs[1].open("wb") as stderr:
    status = subprocess.run(
      command,
      stdin=subprocess.DEVNULL,
      stdout=stdout,
      stderr=stderr,
      env=environment(folder),
      check=False,
    ).returncode
  return Outcome(
    status, *(path.read_text(encoding="utf-8") for path in outputs)
  )

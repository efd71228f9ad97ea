"""Builds the project's venv; run by environment.bzl, once per lock file.

Standard library only: it runs under whatever Python 3.11 the machine has. It
leaves the path of the venv's interpreter in `interpreter.txt`; on failure the
last line on stderr says what was found, what was expected and how to mend it.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time

# Installed size plus the downloads that pip holds meanwhile, rounded up.
_NEEDED_BYTES = 5 * 10**9
_PROGRESS_EVERY = 20


def _fail(message: str) -> None:
  print("error: " + " ".join(message.split()), file=sys.stderr)
  sys.exit(1)


def count_packages(requirements: str) -> int:
  """Returns how many packages a lock file pins."""
  with open(requirements, encoding="utf-8") as lock:
    return sum(1 for line in lock if re.match(r"[A-Za-z0-9]\S*==", line))


def lock_digest(requirements: str) -> str:
  """Returns what tells one lock file from another, for a folder's name."""
  with open(requirements, "rb") as lock:
    return hashlib.sha256(lock.read()).hexdigest()[:12]


def explain(output: list[str], requirements: str) -> str:
  """Turns pip's output into one line.

  Args:
    output: the lines that pip printed, standard error included.
    requirements: path of the lock file.

  Returns:
    What was found, what was expected and how to mend it.
  """
  text = "\n".join(output)
  lock = os.path.basename(requirements)
  if "DO NOT MATCH THE HASHES" in text:
    names = re.findall(r"^\s+(\S+==\S+) from ", text, re.MULTILINE)
    return (
      f"found a download of {', '.join(names) or 'a package'} whose hash is"
      f" not in {lock}, expected the locked file: clear pip's cache (pip cache"
      " purge), check pip's index settings, or lock again"
    )
  if "No space left on device" in text or "Disk quota exceeded" in text:
    return (
      "found no space left on the disk while installing, expected"
      f" {_NEEDED_BYTES / 1e9:.0f} GB: free some and run again"
    )
  missing = re.search(r"No matching distribution found for (\S+)", text)
  if missing:
    return (
      f"found no {missing[1]} on pip's package index, expected the network and"
      " an x86-64 Linux: check the connection, pip's settings, and run again"
    )
  errors = [line for line in output if line.startswith("ERROR:")]
  return f"pip could not install {lock}, fix what it found and run again: " + (
    errors[0] if errors else output[-1] if output else "it printed nothing"
  )


def _install(python: str, requirements: str, total: int) -> None:
  """Runs pip, showing a line of progress now and then."""
  start = time.monotonic()
  # -I keeps the user's PYTHONPATH out; pip's own settings still count.
  command = [python, "-I", "-m", "pip", "install", "--no-deps"]
  command += ["--require-hashes", "--no-input", "--progress-bar=off"]
  command += ["--disable-pip-version-check", "--requirement", requirements]
  output = []
  collected = 0
  with subprocess.Popen(
    command,
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    errors="replace",
  ) as process:
    for line in process.stdout or ():
      output.append(line.rstrip())
      seconds = time.monotonic() - start
      if line.startswith("Collecting "):
        collected += 1
        if collected % _PROGRESS_EVERY == 0:
          print(f"  {collected}/{total} packages fetched ({seconds:.0f} s)")
      elif line.startswith("Installing collected packages"):
        print(f"  {total}/{total} packages fetched ({seconds:.0f} s)")
        print("  unpacking them; a minute or so")
      sys.stdout.flush()
  if process.returncode != 0:
    _fail(explain(output, requirements))


def main() -> None:
  """Makes the venv and writes down where its interpreter is."""
  parser = argparse.ArgumentParser()
  parser.add_argument("--requirements", required=True, help="the lock file")
  parser.add_argument("--folder", required=True, help="where the venv goes")
  arguments = parser.parse_args()

  folder = os.path.abspath(arguments.folder)
  free_bytes = shutil.disk_usage(folder).free
  if free_bytes < _NEEDED_BYTES:
    _fail(
      f"found {free_bytes / 1e9:.1f} GB free in {folder}, expected"
      f" {_NEEDED_BYTES / 1e9:.0f} GB for the Python environment: free some"
    )

  start = time.monotonic()
  total = count_packages(arguments.requirements)
  print(
    f"Setting up the Python environment, once: {total} packages, about 3 GB;"
    " some minutes."
  )
  sys.stdout.flush()
  venv = os.path.join(folder, "venv-" + lock_digest(arguments.requirements))
  made = subprocess.run(
    [sys.executable, "-I", "-m", "venv", "--clear", venv],
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
  )
  if made.returncode != 0:
    _fail(
      f"found that {sys.executable} cannot make a venv, expected Python 3.11"
      " with venv and pip (on Debian: apt-get install python3.11-venv): "
      + (made.stdout + made.stderr)[-300:]
    )
  python = os.path.join(venv, "bin", "python3.11")
  _install(python, arguments.requirements, total)
  print(f"  ready after {time.monotonic() - start:.0f} s")
  with open(os.path.join(folder, "interpreter.txt"), "w") as file:
    file.write(python)


if __name__ == "__main__":
  main()

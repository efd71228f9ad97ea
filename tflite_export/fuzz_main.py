"""Tries hostile files, packages and archives on the code that reads them.

  ./bazelw run //tflite_export:fuzz -- --cases=100000

What passes the checks of a .tflite file is loaded and run by LiteRT, in a
process apart. Any error but the one line that users see, a case that takes long
or a crash ends it with a traceback, the seed and, of a crash, the file; else it
prints what became of the cases and writes it into --result.
"""

from lingvo_lite.stage import entry_point

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import tqdm
from absl import flags

from lingvo_lite.stage.files import write_json
from lingvo_lite.stage.manifest import environment
from tflite_export.fuzz_model import exported_file
from tflite_export.fuzz_runtime import RuntimeProcess
from tflite_export.fuzz_samples import small_streaming_file
from tflite_export.fuzzing import (
  FuzzCount,
  fuzz_files,
  fuzz_packages,
  fuzz_transports,
)

_CASES = flags.DEFINE_integer("cases", 100_000, "Files to try.")
_SEED = flags.DEFINE_integer("seed", 0, "Where the changes come from.")
_RESULT = flags.DEFINE_string(
  "result", "benchmarks/results/fuzz.json", "The file for the figures."
)
_BATCH = 100
# Archives take some ten times as long as small files, models fifty times.
_ARCHIVE_SHARE = 10
_MODEL_SHARE = 50


def main(argv: Sequence[str]) -> None:
  """Tries batch after batch, each with its own seed, and writes the result."""
  del argv
  started = time.monotonic()
  cases = _CASES.value
  small, model = small_streaming_file(), exported_file()
  with RuntimeProcess() as runtime:
    if not runtime.runs(small) or not runtime.runs(model):
      raise RuntimeError("found that LiteRT does not run the unchanged files")
    counts = {
      what: _tried(what, fuzz, amount)
      for what, fuzz, amount in (
        ("files", lambda n, seed: fuzz_files(n, seed, small, runtime), cases),
        (
          "exported models",
          lambda n, seed: fuzz_files(n, seed, model, runtime),
          cases // _MODEL_SHARE,
        ),
        ("packages", fuzz_packages, cases // _ARCHIVE_SHARE),
        ("transport forms", fuzz_transports, cases // _ARCHIVE_SHARE),
      )
    }
  rows: list[dict[str, Any]] = []
  for what, count in counts.items():
    rows.append({"kind": what, **dataclasses.asdict(count), "crashes": 0})
    print(
      f"{count.cases} {what}: {count.refused} refused, {count.passed} passed"
      f" ({count.run} run by LiteRT, {count.not_run} refused by it), slowest"
      f" {count.slowest_s:.3f} s"
    )
  tried = sum(count.cases for count in counts.values())
  write_json(
    entry_point.user_path(_RESULT.value),
    {
      "schema_version": 1,
      "environment": environment(),
      "config": {"cases": cases, "seed": _SEED.value},
      "seconds": round(time.monotonic() - started, 1),
      "rows": rows,
      "claims": [
        {
          "claim": "hostile files tried without a crash, a foreign error or a"
          " case of 5 s",
          "value": tried,
          "target": ">= 100000",
          "met": tried >= 100_000,
        }
      ],
    },
  )


def _tried(
  what: str, fuzz: Callable[[int, int], FuzzCount], cases: int
) -> FuzzCount:
  total = FuzzCount()
  for batch in tqdm.tqdm(range(-(-cases // _BATCH)), desc=what, unit="batch"):
    seed = _SEED.value * 1_000_000 + batch
    try:
      total.add(fuzz(min(_BATCH, cases - total.cases), seed))
    except Exception as error:
      raise RuntimeError(f"found a fault in {what} of seed {seed}") from error
  return total


if __name__ == "__main__":
  entry_point.run(main)

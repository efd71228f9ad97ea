"""Tries hostile .tflite files and packages on the code that reads them.

  ./bazelw run //tflite_export:fuzz -- --cases=100000

Prints what became of them; any error but the one line that users see, a case
that takes long, or a crash ends it with a traceback and the seed.
"""

from lingvo_lite.stage import entry_point

from collections.abc import Sequence

import tqdm
from absl import flags

from tflite_export.fuzzing import FuzzCount, fuzz_files, fuzz_packages

_CASES = flags.DEFINE_integer("cases", 100_000, "Files to try.")
_SEED = flags.DEFINE_integer("seed", 0, "Where the changes come from.")
_BATCH = 1000
# Packages take some ten times as long as files.
_PACKAGE_SHARE = 10


def main(argv: Sequence[str]) -> None:
  """Tries batch after batch, each with its own seed."""
  del argv
  for what, fuzz, cases in (
    ("files", fuzz_files, _CASES.value),
    ("packages", fuzz_packages, _CASES.value // _PACKAGE_SHARE),
  ):
    total = FuzzCount()
    batches = -(-cases // _BATCH)
    for batch in tqdm.tqdm(range(batches), desc=what, unit="batch"):
      seed = _SEED.value * 1_000_000 + batch
      size = min(_BATCH, cases - total.cases)
      try:
        count = fuzz(size, seed)
      except Exception as error:
        raise RuntimeError(f"found a fault in {what} of seed {seed}") from error
      total.cases += count.cases
      total.refused += count.refused
      total.passed += count.passed
      total.slowest_s = max(total.slowest_s, count.slowest_s)
    print(
      f"{total.cases} {what}: {total.refused} refused, {total.passed} passed,"
      f" slowest {total.slowest_s:.3f} s"
    )


if __name__ == "__main__":
  entry_point.run(main)

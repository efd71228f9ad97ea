"""Prints every claim of the committed results: target, value, met or not.

  ./bazelw run //benchmarks:claims

Reads `benchmarks/results/*.json`, measures nothing. A claim that is not met is
printed like the others.
"""

from lingvo_lite.stage import entry_point

import glob
import os
from collections.abc import Sequence

from benchmarks.result_file import claims_table, read_claims

_RESULTS = os.path.join("benchmarks", "results")


def main(argv: Sequence[str]) -> None:
  """Prints a table for each benchmark."""
  del argv
  root = os.environ.get("BUILD_WORKSPACE_DIRECTORY", os.getcwd())
  claims = {
    os.path.splitext(os.path.basename(path))[0]: read_claims(path)
    for path in sorted(glob.glob(os.path.join(root, _RESULTS, "*.json")))
  }
  for name, found in claims.items():
    print(f"\n{name}\n{claims_table(found)}")
  every = [claim for found in claims.values() for claim in found]
  print(f"\n{sum(claim.met for claim in every)} of {len(every)} claims are met")


if __name__ == "__main__":
  entry_point.run(main)

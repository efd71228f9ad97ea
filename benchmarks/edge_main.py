"""Measures streaming recognition on the device.

  ./bazelw run //benchmarks:edge [-- --quick]

Compresses and exports the committed streaming model, then measures its files;
compares them with PocketSphinx and with TensorFlowASR's export of a model of
the same shape, in environments that are made from locked requirements, and left
out with a line that says why where they cannot be. Everything that is compared
takes turns, utterance by utterance or start by start. Prints the tables, writes
`benchmarks/results/edge.json` and `docs/images/edge.png`. Models and rows are
kept below --out: stopped at any moment, the same command goes on.
"""

from lingvo_lite.stage import entry_point

import functools
import hashlib
import os
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags, logging

from benchmarks.edge_claims import edge_claims
from benchmarks.edge_figure import draw_figure
from benchmarks.edge_ladder import make_ladder
from benchmarks.edge_rows import THREADS, Rows, streaming_rows, whole_rows
from benchmarks.edge_table import edge_tables
from benchmarks.peer_environment import NoEnvironmentError, peer_python
from benchmarks.pocketsphinx_timing import pocketsphinx_row
from benchmarks.result_file import claims_table, write_result
from benchmarks.tensorflowasr_timing import tensorflowasr_row
from lingvo_lite.data.default_corpus import find_corpus
from lingvo_lite.data.librispeech import load_librispeech
from lingvo_lite.data.splits import split_held_out, spread
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import read_json, write_json
from lingvo_lite.stage.manifest import environment, sha256
from tflite_export.speech import SpokenUtterance, load_speech

_OUT = flags.DEFINE_string(
  "out",
  None,
  "Folder for models, finished rows and the others' environments. Left out:"
  " lingvo_lite_runs/edge.",
)
_CORPUS = flags.DEFINE_string(
  "corpus",
  None,
  "Folder with speech below server/ and eval/, in the LibriSpeech layout. Left"
  " out: the default corpus (synthetic speech).",
)
_QUICK = flags.DEFINE_bool(
  "quick",
  False,
  "Few models, utterances and starts, to see that all of it works. The results"
  " stay below --out.",
)
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_MAX_BAD_FRACTION = 0.05
_LOCKS = os.path.join(_ROOT, "benchmarks", "systems", "environments")
# What measures, beside all of `tflite_export` and `lingvo_lite` that is loaded.
_MEASURES = (
  "benchmarks.edge_cold_start",
  "benchmarks.edge_rows",
  "benchmarks.edge_timing",
  "benchmarks.pocketsphinx_timing",
  "benchmarks.rival_process",
  "benchmarks.tensorflowasr_timing",
)


def main(argv: Sequence[str]) -> None:
  """Measures what is not measured yet and writes the results."""
  del argv
  quick = _QUICK.value
  out = (
    entry_point.user_path(_OUT.value)
    if _OUT.value
    else entry_point.default_folder("edge")
  )
  corpus = find_corpus(_CORPUS.value)
  recipes = ("float32", "int8") if quick else ("float32", "int8", "int4")
  model = os.path.join(_ROOT, "lingvo_lite", "pretrained", "tiny_streaming")
  ladder = make_ladder(
    model,
    recipes,
    ("float32", "int8"),
    corpus,
    os.path.join(out, "quick_models" if quick else "models"),
  )
  spoken = _load(os.path.join(corpus, "eval"), 12 if quick else 360)
  for_rivals = spread(spoken, 3 if quick else 60)
  _, held_out = split_held_out(load_librispeech(os.path.join(corpus, "server")))
  known = _speech(held_out[:4] if quick else held_out)
  config = {
    "quick": quick,
    "corpus": os.path.basename(corpus),
    "utterances": len(spoken),
    "speech_s": round(sum(one.seconds for one in spoken), 1),
    "held_out_utterances": len(known),
    "rival_utterances": len(for_rivals),
    "cold_starts": 3 if quick else 9,
    "threads": list(THREADS),
    "model_sha256": sha256(os.path.join(model, "model.keras")),
    "files_sha256": {
      f"{mode}/{os.path.basename(path)}": sha256(path)
      for mode, paths in (
        ("streaming", ladder.streaming),
        ("whole", ladder.whole),
      )
      for path in paths
    },
  }
  kept = _Kept(os.path.join(out, "quick_rows" if quick else "rows"), config)
  rows = kept.rows(
    "streaming",
    lambda: streaming_rows(
      ladder.streaming, spoken, known, config["cold_starts"]
    ),
  )
  rows += kept.rows(
    "full_context", lambda: whole_rows(ladder.whole, spoken, known)
  )
  for name, compare in (
    (
      "tensorflowasr",
      functools.partial(
        tensorflowasr_row, paths=ladder.whole, spoken=for_rivals
      ),
    ),
    (
      "pocketsphinx",
      functools.partial(
        pocketsphinx_row, path=ladder.streaming[0], spoken=for_rivals
      ),
    ),
  ):
    rows += _rival_rows(kept, name, compare, os.path.join(out, "environments"))
  result = os.path.join(out, "quick_edge.json")
  figure = os.path.join(out, "quick_edge.png")
  if not quick:
    root = os.environ.get("BUILD_WORKSPACE_DIRECTORY", os.getcwd())
    result = os.path.join(root, "benchmarks", "results", "edge.json")
    figure = os.path.join(root, "docs", "images", "edge.png")
  claims = edge_claims(rows)
  write_result(
    result, config=config, seconds=kept.seconds, rows=rows, claims=claims
  )
  draw_figure(figure, rows)
  print(edge_tables(rows))
  print(claims_table(claims))
  logging.info("written to %s and %s", result, figure)


class _Kept:
  """Rows that were measured before, under the same conditions.

  Args:
    folder: where they are.
    config: of the benchmark, the files' hashes among it.

  Attributes:
    seconds: that the rows which were asked for took to make.
  """

  def __init__(self, folder: str, config: Mapping[str, Any]) -> None:
    self._folder = folder
    self.seconds = 0.0
    # The commit is of more than what measures; that is digested instead.
    machine = {k: v for k, v in environment().items() if k != "commit"}
    self._key = {**config, "machine": machine, "sources": _sources_digest()}

  def rows(self, name: str, make: Callable[[], Rows], lock: str = "") -> Rows:
    """Returns rows from a file with the same key, or makes them.

    Args:
      name: of the file.
      make: measures them.
      lock: the digest of another system's requirements.
    """
    path = os.path.join(self._folder, f"{name}.json")
    key = {**self._key, "lock": lock}
    found: dict[str, Any] = {}
    if os.path.exists(path):
      found = read_json(path, "rows of this benchmark")
    if found.get("key") != key:
      logging.info("measuring %s", name)
      started = time.monotonic()
      rows = make()
      seconds = round(time.monotonic() - started, 1)
      found = {"schema_version": 1, "key": key, "seconds": seconds}
      found["rows"] = rows
      write_json(path, found)
    self.seconds += found["seconds"]
    return list(found["rows"])


def _rival_rows(
  kept: _Kept,
  name: str,
  compare: Callable[[str], dict[str, Any]],
  environments: str,
) -> Rows:
  """Returns the row of another system, or one that says why there is none."""
  lock = os.path.join(_LOCKS, f"{name}_lock.txt")
  try:
    python = peer_python(_ROOT, lock, os.path.join(environments, name))
    return kept.rows(name, lambda: [compare(python)], sha256(lock))
  except (NoEnvironmentError, InputError) as error:
    logging.warning("without %s: %s", name, error)
    return [{"kind": "skipped", "system": name, "reason": str(error)}]


def _sources_digest() -> str:
  """Digests the code that rows depend on, beside the models' files."""
  digest = hashlib.sha256()
  for name, module in sorted(sys.modules.items()):
    path = getattr(module, "__file__", None)
    package = name.partition(".")[0]
    if path and (
      package in ("tflite_export", "lingvo_lite") or name in _MEASURES
    ):
      digest.update(name.encode())
      digest.update(pathlib.Path(path).read_bytes())
  return digest.hexdigest()


def _load(folder: str, count: int) -> list[SpokenUtterance]:
  return _speech(spread(load_librispeech(folder), count))


def _speech(utterances: Sequence[Any]) -> list[SpokenUtterance]:
  spoken, _ = load_speech(utterances, max_bad_fraction=_MAX_BAD_FRACTION)
  return spoken


if __name__ == "__main__":
  entry_point.run(main)

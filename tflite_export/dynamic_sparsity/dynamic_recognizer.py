"""Recognises speech with a file of several sparsities, switched at run time.

Needs neither TensorFlow nor the training code, only LiteRT and NumPy.
"""

import dataclasses
import mmap
import statistics
import time
from collections.abc import Sequence

import numpy as np
from ai_edge_litert import interpreter as litert

from lingvo_lite.decoding.prefix_beam import BeamConfig
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import require_file
from tflite_export.dynamic_sparsity.level_extract import extract_level
from tflite_export.dynamic_sparsity.levels import level_signature
from tflite_export.flatbuffer import check_seal
from tflite_export.interpreter import (
  INPUTS,
  OUTPUTS,
  load_interpreter,
  read_description,
  read_labels,
  signature_runner,
)
from tflite_export.peak_memory import peak_rss_bytes
from tflite_export.reading import Reading, Recognition
from tflite_export.stream import checked_pcm

_SAMPLES = 48_000
_TURNS = 10


@dataclasses.dataclass(frozen=True)
class Budget:
  """What an utterance may cost.

  Attributes:
    latency_ms: of 3 s of sound; None: any.
    memory_bytes: peak of a process that runs the level alone; None: any.
  """

  latency_ms: float | None = None
  memory_bytes: int | None = None

  def __post_init__(self):
    if self.latency_ms is None and self.memory_bytes is None:
      raise InputError(
        "found a budget of neither latency_ms nor memory_bytes, expected one or"
        " both"
      )


class DynamicRecognizer:
  """A loaded .tflite file of several levels; begins with the densest.

  The file is mapped once. A level is prepared when it is first used; from then
  on, a switch to it is the choice of another prepared graph.

  Args:
    path: the file.
    num_threads: that it computes with.
    beam: as of `Recognizer`.

  Attributes:
    labels: the characters of the labels' ids.
    description: what the exporter wrote into the file.
    sparsities: the levels, densest first.
    sparsity: the level in use.

  Raises:
    InputError: the file is missing, empty, damaged, or has no levels.
  """

  def __init__(
    self, path: str, num_threads: int = 1, beam: BeamConfig | None = None
  ):
    require_file(path, "a .tflite file of several sparsities")
    with open(path, "rb") as file:
      self._contents = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
      check_seal(self._contents)
      self.labels = read_labels(self._contents)
      self.description = read_description(self._contents)
    except InputError as error:
      raise InputError(f"{path}: {error}") from None
    # The check read all of the file; levels never used need not stay.
    self._contents.madvise(mmap.MADV_DONTNEED)
    self.sparsities = tuple(self.description.get("sparsities", ()))
    if not self.sparsities:
      raise InputError(
        f"{path}: found a file without levels, expected one of several"
        " sparsities: export it with //tflite_export:export_dynamic_sparsity"
      )
    self.path = path
    self._num_threads = num_threads
    self._reading = Reading(self.labels, beam)
    # A runner does not keep its interpreter alive.
    self._prepared: dict[
      float, tuple[litert.Interpreter, litert.SignatureRunner]
    ] = {}
    self._memory_bytes: dict[float, int] = {}
    self._latency_ms: dict[float, float] = {}
    self.use(self.sparsities[0])

  def use(self, sparsity: float) -> None:
    """Switches to a level, for the utterances to come.

    Raises:
      InputError: the file has no such level.
    """
    if sparsity not in self._prepared:
      self._prepared[sparsity] = self._prepare(sparsity)
    self._runner = self._prepared[sparsity][1]
    self.sparsity = sparsity

  def recognize(self, pcm: np.ndarray) -> Recognition:
    """Recognises one utterance at the level in use.

    Args:
      pcm: float32[S], 16 kHz mono in [-1, 1], S >= 1.

    Raises:
      InputError: there is no sample, or one is not a number.
    """
    pcm = checked_pcm(pcm)
    if pcm.size == 0:
      raise InputError(
        "found no sample, expected at least one: is the recording empty?"
      )
    outputs = self._runner(pcm=pcm[np.newaxis])
    labels = outputs["labels"][: int(outputs["count"])]
    return self._reading.of_whole(outputs["logits"][0], labels)

  def latency_ms(self) -> dict[float, float]:
    """Returns each level's median time for 3 s of sound on this machine.

    Levels take turns, so that a noisy machine disturbs all alike. Measured
    once; all levels are prepared for it.
    """
    if not self._latency_ms:
      noise = np.random.default_rng(0).normal(0, 0.05, _SAMPLES)
      pcm = noise.astype(np.float32)[np.newaxis]
      for sparsity in self.sparsities:
        if sparsity not in self._prepared:
          self._prepared[sparsity] = self._prepare(sparsity)
        self._prepared[sparsity][1](pcm=pcm)
      times: dict[float, list[float]] = {s: [] for s in self.sparsities}
      for _ in range(_TURNS):
        for sparsity in self.sparsities:
          started = time.perf_counter()
          self._prepared[sparsity][1](pcm=pcm)
          times[sparsity].append(time.perf_counter() - started)
      self._latency_ms = {
        sparsity: 1000 * statistics.median(found)
        for sparsity, found in times.items()
      }
    return dict(self._latency_ms)

  def memory_bytes(self) -> dict[float, int]:
    """Returns each level's peak memory, of a fresh process on this machine.

    Measured once; it takes some seconds.
    """
    if not self._memory_bytes:
      self._memory_bytes = {
        sparsity: peak_rss_bytes(self.path, (sparsity,))
        for sparsity in self.sparsities
      }
    return dict(self._memory_bytes)

  def choose(self, budget: Budget) -> float:
    """Switches to the densest level within a budget, and returns it.

    Raises:
      InputError: no level is; the closest one and its figure are named.
    """
    chosen = pick(
      self.sparsities,
      budget,
      {} if budget.latency_ms is None else self.latency_ms(),
      {} if budget.memory_bytes is None else self.memory_bytes(),
    )
    self.use(chosen)
    return chosen

  def _prepare(
    self, sparsity: float
  ) -> tuple[litert.Interpreter, litert.SignatureRunner]:
    if sparsity not in self.sparsities:
      raise InputError(
        f"{self.path}: found no level {sparsity}, expected one of"
        f" {list(self.sparsities)}: these are the ones in the file"
      )
    name = level_signature(sparsity)
    loaded = load_interpreter(
      extract_level(self._contents, name), self._num_threads
    )
    return loaded, signature_runner(loaded, name, INPUTS, OUTPUTS)


def pick(
  sparsities: Sequence[float],
  budget: Budget,
  latency_ms: dict[float, float],
  memory_bytes: dict[float, int],
) -> float:
  """Returns the densest level within a budget.

  Args:
    sparsities: the levels, densest first.
    budget: what an utterance may cost.
    latency_ms: of each level, where the budget has one.
    memory_bytes: of each level, where the budget has one.

  Raises:
    InputError: no level is; the closest one and its figure are named.
  """

  def excess(sparsity: float) -> float:
    """Returns the largest cost as a multiple of its budget."""
    shares = []
    if budget.latency_ms is not None:
      shares.append(latency_ms[sparsity] / max(budget.latency_ms, 1e-9))
    if budget.memory_bytes is not None:
      shares.append(memory_bytes[sparsity] / max(budget.memory_bytes, 1))
    return max(shares)

  for sparsity in sparsities:
    if excess(sparsity) <= 1:
      return sparsity
  closest = min(sparsities, key=excess)
  asked, figures = [], []
  if budget.latency_ms is not None:
    asked.append(f"{budget.latency_ms:g} ms")
    figures.append(f"{latency_ms[closest]:.2f} ms")
  if budget.memory_bytes is not None:
    asked.append(f"{budget.memory_bytes / 1e6:g} MB")
    figures.append(f"{memory_bytes[closest] / 1e6:.1f} MB")
  raise InputError(
    f"found no level within {' and '.join(asked)}, expected a larger budget:"
    f" the closest is {closest} with {' and '.join(figures)}"
  )

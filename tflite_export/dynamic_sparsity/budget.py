"""Chooses the level of a file by what levels cost on this machine.

Needs neither TensorFlow nor the training code.
"""

import dataclasses
import statistics
import time
from collections.abc import Sequence

import numpy as np

from lingvo_lite.stage.errors import InputError
from tflite_export.dynamic_sparsity.dynamic_recognizer import DynamicRecognizer
from tflite_export.peak_memory import peak_rss_bytes

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


class LevelChooser:
  """Measures the levels of a recognizer, and switches it.

  Args:
    recognizer: what is measured and switched.
  """

  def __init__(self, recognizer: DynamicRecognizer):
    self._recognizer = recognizer
    self._latency_ms: dict[float, float] = {}
    self._memory_bytes: dict[float, int] = {}

  def latency_ms(self) -> dict[float, float]:
    """Returns each level's median time for 3 s of sound on this machine.

    Levels take turns, so that a noisy machine disturbs all alike. Measured
    once; all levels are prepared for it.
    """
    if not self._latency_ms:
      recognizer = self._recognizer
      in_use = recognizer.sparsity
      noise = np.random.default_rng(0).normal(0, 0.05, _SAMPLES)
      pcm = noise.astype(np.float32)
      times: dict[float, list[float]] = {s: [] for s in recognizer.sparsities}
      for turn in range(_TURNS + 1):
        for sparsity in recognizer.sparsities:
          recognizer.use(sparsity)
          started = time.perf_counter()
          recognizer.recognize(pcm)
          # The first turn prepares.
          if turn:
            times[sparsity].append(time.perf_counter() - started)
      recognizer.use(in_use)
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
      recognizer = self._recognizer
      self._memory_bytes = {
        sparsity: peak_rss_bytes(recognizer.path, (sparsity,))
        for sparsity in recognizer.sparsities
      }
    return dict(self._memory_bytes)

  def choose(self, budget: Budget) -> float:
    """Switches to the densest level within a budget, and returns it.

    Raises:
      InputError: no level is; the closest one and its figure are named.
    """
    chosen = pick(
      self._recognizer.sparsities,
      budget,
      {} if budget.latency_ms is None else self.latency_ms(),
      {} if budget.memory_bytes is None else self.memory_bytes(),
    )
    self._recognizer.use(chosen)
    return chosen


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

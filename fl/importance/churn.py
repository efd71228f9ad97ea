"""How much training moves each part of a model.

  churn(t) = |w_t - w_{t-k}| / |w_{t-k}|    Euclidean norms over a part
  distance = |w_T - w_0| / sqrt(n)          n weights of the part

Both definitions are this project's own. The paper (Zhou et al., "Exploring
Heterogeneous Characteristics of Layers in ASR Models") relates the updates of a
layer's weights to how ambient it is.
"""

from collections.abc import Sequence

import numpy as np

from fl.dropout.sub_model import VariableSpec
from fl.importance.probes import Part


class Churn:
  """Measures the change between two states of a model's weights.

  It only reads: what is trained is bit for bit the same with and without.

  Args:
    specs: the model's variables.
    parts: what is measured as one.
  """

  def __init__(
    self, specs: Sequence[VariableSpec], parts: Sequence[Part]
  ) -> None:
    self._starts = np.cumsum([0] + [spec.size for spec in specs])[:-1]
    self._members = {
      part.name: np.array([part.holds(spec.name) for spec in specs])
      for part in parts
    }
    self._sizes = np.array([spec.size for spec in specs])

  def relative(self, before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Returns the churn of each part, by its name.

    Args:
      before: float32[P], all variables, flattened one after another.
      after: float32[P], some steps or a round later.
    """
    changes = self._squares(np.subtract(after, before, dtype=np.float64))
    sizes = self._squares(np.asarray(before, np.float64))
    return {
      name: float(np.sqrt(changes[members].sum() / sizes[members].sum()))
      for name, members in self._members.items()
    }

  def distance(self, first: np.ndarray, last: np.ndarray) -> dict[str, float]:
    """Returns how far each part came, the root mean square of its weights."""
    changes = self._squares(np.subtract(last, first, dtype=np.float64))
    return {
      name: float(np.sqrt(changes[members].sum() / self._sizes[members].sum()))
      for name, members in self._members.items()
    }

  def _squares(self, values: np.ndarray) -> np.ndarray:
    """float64[P] -> float64[variables], each one's sum of squares."""
    return np.add.reduceat(np.square(values), self._starts)


def mean_churn(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
  """Averages the churn of each part over rounds."""
  return {
    name: float(np.mean([of_round[name] for of_round in rounds]))
    for name in rounds[0]
  }

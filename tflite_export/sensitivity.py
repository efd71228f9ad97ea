"""Which layers can do with less: measured one at a time, chosen under a budget.

Each layer alone is given fewer bits or fewer weights, and the divergence of the
model's labels from the float model's is measured. Then every layer starts at
its cheapest choice, and again and again the change is made that wins the most
divergence for a bit of the file, as long as the file stays within the budget.
That is the greedy rule for a knapsack; it takes the layers' harms as adding up,
which the fine-tuning after it need not make true.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from lingvo_lite.quantization.grid import find_grid, search_clips
from lingvo_lite.stage.errors import InputError
from tflite_export.distillation import distillation_loss
from tflite_export.pruning.mask_schedule import keep_largest

_BITS = (2, 4, 8)


@dataclasses.dataclass(frozen=True)
class Choice:
  """What may be made of a kernel.

  Attributes:
    bits: of a weight.
    kept_of: `(n, m)`, or None: all weights are kept.
  """

  bits: int
  kept_of: tuple[int, int] | None = None

  @property
  def bits_a_weight(self) -> float:
    """Bits of a kept weight and of its place, over all weights."""
    if self.kept_of is None:
      return float(self.bits)
    kept, group = self.kept_of
    places = math.log2(math.comb(group, kept))
    return (kept * self.bits + places) / group

  def applied_to(self, kernel: np.ndarray) -> np.ndarray:
    """Returns a kernel float32[inputs, outputs] rounded so."""
    if self.kept_of is not None:
      kernel = kernel * keep_largest(tf.constant(kernel), self.kept_of).numpy()
    clips = search_clips(kernel, self.bits)
    return find_grid(kernel, self.bits, clips).values


def choices_of(kept_of: tuple[int, int] | None) -> list[Choice]:
  """Returns what may be made of a layer, the cheapest first."""
  choices = [Choice(bits) for bits in _BITS]
  if kept_of is not None:
    # Fewer than 4 bits of fewer weights leaves too little of a layer.
    choices += [Choice(bits, kept_of) for bits in _BITS[1:]]
  return sorted(choices, key=lambda choice: choice.bits_a_weight)


def check_budget(
  mean_bits: float | None, kept_of: tuple[int, int] | None
) -> None:
  """Raises InputError if no choice is so cheap, before anything is measured.

  Args:
    mean_bits: most bits a weight, in the mean; None: there is no budget.
    kept_of: `(n, m)`, or None.
  """
  least = choices_of(kept_of)[0].bits_a_weight
  if mean_bits is not None and mean_bits < least:
    raise _too_small(mean_bits, least)


def measure_sensitivity(
  model: tf.keras.Model,
  names: Sequence[str],
  choices: Sequence[Choice],
  batches: Iterable[Mapping[str, tf.Tensor]],
) -> dict[str, dict[Choice, float]]:
  """Measures what each choice does to the labels, one layer at a time.

  Args:
    model: the float model; left as it is.
    names: of its `Dense` layers.
    choices: to measure.
    batches: `features` and `lengths` of some speech.

  Returns:
    Layer name -> choice -> KL divergence a frame, in nats.

  Raises:
    InputError: there is no speech.
  """
  batches = [
    {key: batch[key] for key in ("features", "lengths")} for batch in batches
  ]
  if not batches:
    raise InputError(
      "found no speech to measure the layers' sensitivity on, expected some:"
      " give speech below server/"
    )
  changed = tf.keras.models.clone_model(model)
  changed.set_weights(model.get_weights())
  divergence = tf.function(
    distillation_loss(changed, model), reduce_retracing=True
  )
  found: dict[str, dict[Choice, float]] = {}
  for name in names:
    kernel = changed.get_layer(name).kernel
    original = kernel.numpy()
    found[name] = {}
    for choice in choices:
      kernel.assign(choice.applied_to(original))
      losses = [float(divergence(batch)) for batch in batches]
      found[name][choice] = float(np.mean(losses))
    kernel.assign(original)
  return found


def assign(
  sensitivity: Mapping[str, Mapping[Choice, float]],
  weights: Mapping[str, int],
  mean_bits: float,
) -> dict[str, Choice]:
  """Chooses for each layer, within a budget.

  Args:
    sensitivity: what `measure_sensitivity` returned.
    weights: layer name -> how many weights it has.
    mean_bits: most bits a weight, in the mean over all weights.

  Returns:
    Layer name -> choice.

  Raises:
    InputError: the cheapest choices are beyond the budget.
  """
  budget = mean_bits * sum(weights.values())
  chosen = {
    name: min(harms, key=lambda choice: choice.bits_a_weight)
    for name, harms in sensitivity.items()
  }

  def cost(name: str, choice: Choice) -> float:
    return choice.bits_a_weight * weights[name]

  spent = sum(cost(name, choice) for name, choice in chosen.items())
  if spent > budget:
    raise _too_small(mean_bits, spent / sum(weights.values()))
  while True:
    best, best_rate = None, 0.0
    for name, harms in sensitivity.items():
      for choice, harm in harms.items():
        added = cost(name, choice) - cost(name, chosen[name])
        won = harms[chosen[name]] - harm
        if added <= 0 or won <= 0 or spent + added > budget:
          continue
        if won / added > best_rate:
          best, best_rate = (name, choice, added), won / added
    if best is None:
      return chosen
    name, choice, added = best
    chosen[name] = choice
    spent += added


def _too_small(mean_bits: float, least: float) -> InputError:
  return InputError(
    f"found a budget of {mean_bits} bits a weight (mean_bits), expected at"
    f" least {least:.2f}, which the cheapest choices take: raise it"
  )

"""How a model may be compressed, and the recipes that have a name."""

import dataclasses

from lingvo_lite.stage.errors import InputError

MIN_BITS = 2
MAX_BITS = 8


@dataclasses.dataclass(frozen=True)
class Recipe:
  """What is kept of the weights, and how long the rest may heal.

  Names say what is kept: `int4_2of4` keeps 2 weights of every 4 inputs and 4
  bits of each. docs/compression.md says what each choice costs and buys.

  Attributes:
    name: what the recipe and its files are called.
    weight_bits: bits of a weight of a matrix; None: float32, or as below. The
      file holds 2, 4 or 8: other integers take the next wider room, and save
      bytes in transport form alone.
    mean_bits: most bits a weight in the mean, the places of kept weights
      counted; each matrix is given 2, 4 or 8 bits, and pruned or not, by how
      much it can bear (`sensitivity.py`).
    kept_of: `(n, m)`: n weights are kept of m neighbours along the inputs of a
      matrix; None: all.
    fine_tune_steps: steps of the fine-tuning, pruned and quantised at once.
    learning_rate: highest one of the fine-tuning.
    transcript_fraction: of the loss, how much is that of the transcripts; the
      rest is how far the answers are from the float model's.
    train_clips: whether scales are trained with the weights; else they stay
      where the search put them.
    mask_updates: how often masks are chosen; see `MaskSchedule`.
    mask_update_every: steps between that.
    dropped_decay: SR-STE's pull on dropped weights; see `KernelRule`.
    weight_noise: variational noise of the fine-tuning; see `KernelRule`.
  """

  name: str
  weight_bits: int | None = None
  mean_bits: float | None = None
  kept_of: tuple[int, int] | None = None
  fine_tune_steps: int = 0
  learning_rate: float = 3e-4
  transcript_fraction: float = 0.0
  train_clips: bool = True
  mask_updates: int = 1
  mask_update_every: int = 1
  dropped_decay: float = 0.0
  weight_noise: float = 0.0

  def __post_init__(self):
    if self.weight_bits is not None and not (
      MIN_BITS <= self.weight_bits <= MAX_BITS
    ):
      raise InputError(
        f"found weight_bits {self.weight_bits} in the recipe {self.name},"
        f" expected {MIN_BITS} to {MAX_BITS} or none"
      )
    for field, least in (
      ("fine_tune_steps", 0),
      ("mask_updates", 1),
      ("mask_update_every", 1),
      ("dropped_decay", 0),
    ):
      value = getattr(self, field)
      if not value >= least:
        raise InputError(
          f"found {field} {value} in the recipe {self.name}, expected {least}"
          " or more"
        )
    for field in ("learning_rate", "mean_bits"):
      value = getattr(self, field)
      if value is not None and not value > 0:
        raise InputError(
          f"found {field} {value} in the recipe {self.name}, expected more"
          " than 0"
        )
    if self.kept_of is not None and not 0 < self.kept_of[0] < self.kept_of[1]:
      raise InputError(
        f"found kept_of {self.kept_of} in the recipe {self.name}, expected"
        " (n, m) with 0 < n < m: n weights are kept of m"
      )
    if self.weight_bits is not None and self.mean_bits is not None:
      raise InputError(
        f"found weight_bits {self.weight_bits} and mean_bits {self.mean_bits}"
        f" in the recipe {self.name}, expected one of them"
      )
    if self.fine_tune_steps and self.is_float32:
      raise InputError(
        f"found {self.fine_tune_steps} steps without weight_bits, mean_bits or"
        f" kept_of in the recipe {self.name}, expected one of them: float32"
        " stays as it was trained"
      )
    if not 0 <= self.transcript_fraction <= 1:
      raise InputError(
        f"found transcript_fraction {self.transcript_fraction} in the recipe"
        f" {self.name}, expected 0 (the float model's answers alone) to 1"
        " (transcripts alone)"
      )
    if self.weight_noise < 0 or (
      self.weight_noise and not self.fine_tune_steps
    ):
      raise InputError(
        f"found weight_noise {self.weight_noise} and {self.fine_tune_steps}"
        f" steps in the recipe {self.name}, expected noise of 0 or more, and"
        " steps to add it in"
      )
    if self.kept_of is None and (self.mask_updates > 1 or self.dropped_decay):
      raise InputError(
        f"found mask_updates {self.mask_updates} and dropped_decay"
        f" {self.dropped_decay} without kept_of in the recipe {self.name},"
        " expected them for masks only: leave them out"
      )
    last_update = (self.mask_updates - 1) * self.mask_update_every
    if last_update and last_update >= self.fine_tune_steps:
      raise InputError(
        f"found masks that are chosen before step {last_update} of"
        f" {self.fine_tune_steps}, counted from 0, in the recipe {self.name},"
        " expected all choices within the steps: lower mask_updates or"
        " mask_update_every, or raise fine_tune_steps"
      )
    if self.dropped_decay and not self.fine_tune_steps:
      raise InputError(
        f"found dropped_decay {self.dropped_decay} and no steps in the recipe"
        f" {self.name}, expected steps to pull in: give it fine_tune_steps"
      )

  @property
  def is_float32(self) -> bool:
    """Whether nothing is done to the weights."""
    return (self.weight_bits, self.mean_bits, self.kept_of) == (None,) * 3

  @property
  def needs_speech(self) -> bool:
    """Whether it hears speech: to measure layers, to refit or to fine-tune."""
    return bool(self.mean_bits or self.kept_of or self.fine_tune_steps)


_ALL = (
  Recipe("float32"),
  Recipe(
    "float32_2of4", kept_of=(2, 4), fine_tune_steps=120, learning_rate=1e-3
  ),
  Recipe("int8", weight_bits=8),
  Recipe("int4", weight_bits=4, fine_tune_steps=60),
  Recipe("int2", weight_bits=2, fine_tune_steps=150, learning_rate=1e-3),
  Recipe(
    "int4_2of4",
    weight_bits=4,
    kept_of=(2, 4),
    fine_tune_steps=80,
    learning_rate=5e-4,
  ),
  Recipe(
    "int4_1of4",
    weight_bits=4,
    kept_of=(1, 4),
    fine_tune_steps=160,
    learning_rate=1e-3,
  ),
  # As small as int4_2of4, but each layer is given what it needs.
  Recipe(
    "mixed_2of4",
    mean_bits=2.6,
    kept_of=(2, 4),
    fine_tune_steps=150,
    learning_rate=1e-3,
  ),
  # For long, with the server's speech alone: the second begins with what the
  # first made, and both have the whole float model as their teacher.
  Recipe(
    "float32_2of4_healed",
    kept_of=(2, 4),
    fine_tune_steps=2000,
    learning_rate=1e-3,
    transcript_fraction=0.1,
  ),
  Recipe(
    "int4_2of4_healed",
    weight_bits=4,
    kept_of=(2, 4),
    fine_tune_steps=200,
    learning_rate=1e-4,
    transcript_fraction=0.1,
  ),
)
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ALL}

"""What is done to a trained model to learn what its parts are worth.

Reference: Zhang et al., "Are All Layers Created Equal?", section 3:
re-initialisation puts a layer back to the values that its run began with,
re-randomisation gives it a fresh draw.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from lingvo_lite.models.conformer_config import ConformerConfig, block_name
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.stage.errors import InputError

# By variable name.
Values = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Part:
  """A part of a model that is reset as one.

  Attributes:
    name: what the rows of a file call it.
    kind: `group` (the module of a width group), `block`, or `joint` (several
      groups together).
    prefixes: its variables' names begin with one of these and a `/`.
  """

  name: str
  kind: str
  prefixes: tuple[str, ...]

  def holds(self, variable: str) -> bool:
    """Returns whether a variable is of this part."""
    return variable.startswith(tuple(f"{name}/" for name in self.prefixes))


@dataclasses.dataclass(frozen=True, eq=False)
class Probe:
  """A part, and the values that it gets.

  Attributes:
    part: what is reset.
    values: of all the model's variables; those of the part are used.
  """

  part: Part
  values: Values


def parts_of(config: ConformerConfig) -> list[Part]:
  """Returns every width group's module and every block, in model order."""
  names = [(name, "group") for name in config.full_units()]
  names += [(block_name(index), "block") for index in range(config.num_blocks)]
  return [Part(name, kind, (name,)) for name, kind in names]


def joint_parts(names: Sequence[str]) -> list[Part]:
  """Returns the first two of the groups together, the first three, and so on.

  Args:
    names: of width groups, the most ambient first.
  """
  return [
    Part(f"most_ambient_{k}", "joint", tuple(names[:k]))
    for k in range(2, len(names) + 1)
  ]


def fresh_values(config: ConformerConfig, seed: int) -> dict[str, np.ndarray]:
  """Draws each variable anew from its layer's initial distribution.

  Args:
    config: of the model.
    seed: another one than the model was trained from.
  """
  model = build_ctc_model(config, seed)
  return {variable.name: variable.numpy() for variable in model.variables}


def check_values(
  values: Values, shapes: Mapping[str, tuple[int, ...]], path: str
) -> None:
  """Raises InputError unless values are of a model of these variables.

  Args:
    values: by variable name.
    shapes: the probed model's, by variable name.
    path: where the values are from.
  """
  for name, shape in shapes.items():
    if name not in values or values[name].shape != shape:
      raise InputError(
        f"found no value that fits {name} in {path}, expected initial.keras or"
        " a checkpoint of the run that made model.keras: take both from one"
        " folder"
      )

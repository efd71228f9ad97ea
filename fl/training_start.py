"""What federated training begins with: a model, plans, and their form."""

import dataclasses
import os
from collections.abc import Callable

import numpy as np

from fl.dropout.plan import DropoutPlan
from fl.dropout.sub_model import VariableSpec, flatten, variable_specs
from fl.dropout.unit_order import order_by_magnitude
from fl.ladder import Ladder
from fl.quantized_model import QuantizedModel
from fl.tier_plans import read_plan
from fl.training_settings import TrainingSettings
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.model_file import load_model
from lingvo_lite.models.unit_groups import UnitGroup, unit_groups


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingStart:
  """A model and what is to become of it.

  Attributes:
    model_config: of the server's model.
    specs: its variables.
    groups: its width groups.
    weights: float32[P], all variables as they begin.
    order: of each group's units, those of the largest weights first.
    plans: how wide the clients' layers are, in each tier.
    ladder: the levels of sparsity that are trained at once, or None.
    quantized: the grids of the weights that are trained, or None.
    model_paths: files that all of this was read from.
  """

  model_config: ConformerConfig
  specs: tuple[VariableSpec, ...]
  groups: tuple[UnitGroup, ...]
  weights: np.ndarray
  order: dict[str, list[int]]
  plans: list[DropoutPlan]
  ladder: Ladder | None
  quantized: QuantizedModel | None
  model_paths: list[str]

  @property
  def form(self) -> Ladder | QuantizedModel | None:
    """What is trained in place of plain weights; None: plain weights."""
    return self.ladder or self.quantized

  @property
  def shipped(self) -> Callable[[np.ndarray], np.ndarray] | None:
    """From trained weights to those that ship; None: they are the same."""
    return self.quantized.on_grid if self.quantized else None


def read_start(settings: TrainingSettings) -> TrainingStart:
  """Reads the model and the plans, and checks that they go together.

  Args:
    settings: of the run.

  Raises:
    InputError: a file is missing or damaged, or they do not go together.
  """
  folder = settings.model_folder
  paths = [os.path.join(folder, "model.keras")]
  model, model_config = load_model(paths[0])
  specs = variable_specs(model)
  groups = unit_groups(model_config)
  weights = flatten(model.trainable_variables).numpy()
  plans = [
    read_plan(tier, model_config, specs, groups) for tier in settings.tiers
  ]
  ladder, quantized = None, None
  if settings.dynamic_sparsity:
    ladder = Ladder.read(folder)
    ladder.check(plans)
    paths.append(Ladder.path(folder))
  elif settings.quantized:
    quantized = QuantizedModel.read(folder, specs, weights)
    quantized.check(plans, settings.config)
    paths.append(QuantizedModel.path(folder))
  return TrainingStart(
    model_config=model_config,
    specs=specs,
    groups=groups,
    weights=weights,
    order=order_by_magnitude(specs, groups, weights),
    plans=plans,
    ladder=ladder,
    quantized=quantized,
    model_paths=paths,
  )

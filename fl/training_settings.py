"""What a run of federated training is asked for."""

import dataclasses

from fl.dropout.tier_file import DeviceTier
from fl.faults.fault_lab import FaultConfig
from fl.faults.round_policy import RoundPolicy
from fl.federated_config import FederatedConfig
from fl.processes.aggregation import AggregationConfig
from fl.runtime.remote import Address
from lingvo_lite.stage.errors import InputError


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
  """The flags of `//fl:train`, read.

  Attributes:
    config: of the rounds.
    policy: when a round counts.
    faults: that befall clients on purpose.
    aggregation: how one update is made of many.
    cohort_sampling: how clients are drawn; one of `SAMPLINGS`.
    tiers: of the devices; one, if all clients are alike.
    tiers_path: the file that they are from; None: they are alike.
    workers: where other machines answer; empty: one on this machine.
    dynamic_sparsity: whether the levels of a ladder are trained.
    quantized: whether weights on a grid are trained.
    model_folder: with the model to start from.
    max_bad_fraction: of the utterances; more is an error.
    out: folder of the artifact.
    workdir: folder of what is kept between rounds.

  Raises:
    InputError: two of them do not go together.
  """

  config: FederatedConfig
  policy: RoundPolicy
  faults: FaultConfig
  aggregation: AggregationConfig
  cohort_sampling: str
  tiers: tuple[DeviceTier, ...]
  tiers_path: str | None
  workers: tuple[Address, ...]
  dynamic_sparsity: bool
  quantized: bool
  model_folder: str
  max_bad_fraction: float
  out: str
  workdir: str

  def __post_init__(self):
    self.aggregation.privacy.check_rounds(
      self.cohort_sampling, self.policy.min_clients
    )
    if self.dynamic_sparsity and self.quantized:
      raise InputError(
        "found --dynamic_sparsity and --quantized, expected one of them: the"
        " levels of a ladder are quantised when they are exported"
      )

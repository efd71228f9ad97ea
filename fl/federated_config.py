"""The settings of a federated training run."""

import dataclasses
import math

import tensorflow as tf

from fl.dropout.selection import MASK_SCOPES
from lingvo_lite.stage.errors import InputError

SCHEDULES = ("cosine", "inverse_sqrt", "constant")


@dataclasses.dataclass(frozen=True)
class FederatedConfig:
  """How clients and server train together.

  Attributes:
    rounds: of federated training.
    cohort: clients a round.
    local_epochs: how often a client goes through its speech in a round.
    client_batch_size: utterances a local step.
    client_learning_rate: of local Adam, in the first round.
    client_clip_norm: largest norm of a local step's gradient.
    server_learning_rate: of the server's Adam, in the first round; it falls to
      zero along half a cosine.
    rehearsal_steps: updates on the server's own speech after each round.
    keep_zeros: whether zeros of the model's matrices stay zeros.
    seed: where all randomness comes from.
    mask_scope: `client`, `round` or `run`: who shares the same kept units.
    output_scaling: whether clients' narrowed layers count their units as often
      as makes up for those left out.
    refresh_every: rounds between refreshes of the plan from churn; 0: it stays.
    refresh_hysteresis: how much a refresh favours the plan so far.
    evaluate_every: rounds between measurements on the clients' held-out speech.
    proximal_strength: mu of FedProx.
    variational_noise: standard deviation of the noise on clients' weights.
    max_update_norm: updates of a larger L2 norm are turned down.
    client_learning_rate_schedule: how the clients' rate goes on from the first
      round; see `client_schedule`.
  """

  rounds: int
  cohort: int
  local_epochs: int
  client_batch_size: int
  client_learning_rate: float
  client_clip_norm: float
  server_learning_rate: float
  rehearsal_steps: int
  seed: int
  mask_scope: str
  evaluate_every: int
  output_scaling: bool = True
  keep_zeros: bool = False
  refresh_every: int = 0
  refresh_hysteresis: float = 0.0
  proximal_strength: float = 0.0
  variational_noise: float = 0.0
  max_update_norm: float = 1e4
  client_learning_rate_schedule: str = "cosine"

  def __post_init__(self):
    for name in (
      "rounds",
      "cohort",
      "local_epochs",
      "client_batch_size",
      "evaluate_every",
    ):
      if getattr(self, name) < 1:
        raise InputError(
          f"found --{name}={getattr(self, name)}, expected 1 or more"
        )
    if self.rehearsal_steps < 0:
      raise InputError(
        f"found --rehearsal_steps={self.rehearsal_steps}, expected 0 (none) or"
        " more"
      )
    for name in (
      "client_learning_rate",
      "client_clip_norm",
      "server_learning_rate",
      "max_update_norm",
    ):
      value = getattr(self, name)
      if not (math.isfinite(value) and value > 0):
        raise InputError(f"found --{name}={value}, expected a positive number")
    for name in (
      "refresh_every",
      "refresh_hysteresis",
      "proximal_strength",
      "variational_noise",
    ):
      value = getattr(self, name)
      if not (math.isfinite(value) and value >= 0):
        raise InputError(f"found --{name}={value}, expected 0 or more")
    if self.mask_scope not in MASK_SCOPES:
      raise InputError(
        f"found --mask_scope={self.mask_scope}, expected one of"
        f" {', '.join(MASK_SCOPES)}"
      )

    if self.client_learning_rate_schedule not in SCHEDULES:
      raise InputError(
        "found --client_learning_rate_schedule="
        f"{self.client_learning_rate_schedule}, expected one of"
        f" {', '.join(SCHEDULES)}"
      )

  def client_schedule(self, round_number: tf.Tensor) -> tf.Tensor:
    """Returns the clients' learning rate, float32[], for int32[] round.

    `cosine`: see `schedule`; `inverse_sqrt`: peak / sqrt(1 + round), which does
    not depend on how many rounds there will be; `constant`: peak.
    """
    peak = self.client_learning_rate
    if self.client_learning_rate_schedule == "constant":
      return tf.constant(peak)
    if self.client_learning_rate_schedule == "inverse_sqrt":
      return peak * tf.math.rsqrt(1.0 + tf.cast(round_number, tf.float32))
    return self.schedule(peak, round_number)

  def schedule(self, peak: float, round_number: tf.Tensor) -> tf.Tensor:
    """Returns a learning rate, float32[], for int32[] round.

    peak * (1 + cos(pi * round / rounds)) / 2
    """
    progress = tf.cast(round_number, tf.float32) / self.rounds
    return peak * 0.5 * (1.0 + tf.cos(math.pi * progress))

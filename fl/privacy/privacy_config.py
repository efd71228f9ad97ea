"""How much a client's speech may show in the model."""

import dataclasses

from lingvo_lite.stage.errors import InputError

MECHANISMS = ("none", "gaussian", "adaptive_gaussian", "tree")


@dataclasses.dataclass(frozen=True)
class PrivacyConfig:
  """User-level differential privacy of the trained weights.

  Each client's update is clipped to a norm C, the sum of a round gets Gaussian
  noise of standard deviation z C, and is divided by the cohort's size.

  Attributes:
    mechanism: `none`; `gaussian`: C is fixed, noise is fresh each round
      (McMahan et al. 2018, "Learning Differentially Private Recurrent Language
      Models"); `adaptive_gaussian`: C follows the median of the norms (Andrew
      et al. 2021, "Differentially Private Learning with Adaptive Clipping");
      `tree`: C is fixed, noise is that of a binary tree over the rounds
      (Kairouz et al. 2021, "Practical and Private (Deep) Learning without
      Sampling or Shuffling").
    noise_multiplier: z.
    clip_norm: C; where it adapts, that of the first round.
    delta: of (epsilon, delta); well below one in the number of clients.
  """

  mechanism: str = "none"
  noise_multiplier: float = 1.0
  clip_norm: float = 0.1
  delta: float = 1e-5

  def __post_init__(self):
    if self.mechanism not in MECHANISMS:
      raise InputError(
        f"found --privacy={self.mechanism}, expected one of"
        f" {', '.join(MECHANISMS)}"
      )
    for name, flag in (
      ("noise_multiplier", "noise_multiplier"),
      ("clip_norm", "privacy_clip_norm"),
    ):
      if not getattr(self, name) > 0:
        raise InputError(
          f"found --{flag}={getattr(self, name)}, expected more than 0: for no"
          " noise at all use --privacy=none"
        )
    if not 0 < self.delta < 1:
      raise InputError(
        f"found --privacy_delta={self.delta}, expected it in (0, 1)"
      )

  def check_rounds(self, sampling: str, min_clients: int) -> None:
    """Raises InputError where rounds are not those that epsilon is charged for.

    Args:
      sampling: how cohorts are drawn; see `fl/data/cohorts.py`.
      min_clients: good updates that a round needs to count.
    """
    if not self.is_private:
      if min_clients < 1:
        raise InputError(
          f"found --min_clients={min_clients} without --privacy, expected 1 or"
          " more: a round of nobody teaches nothing"
        )
      return
    fresh = self.mechanism in ("gaussian", "adaptive_gaussian")
    for unsound, flag, why in (
      (
        fresh and sampling == "with_replacement",
        f"--cohort_sampling={sampling}",
        "a client drawn twice moves a round's sum by twice the clipping norm,"
        " which costs as much as four rounds, not two; draw distinct clients,"
        " uniform or poisson",
      ),
      (
        sampling == "by_utterances",
        f"--cohort_sampling={sampling}",
        "how much a client has said then decides who else is drawn, which no"
        " noise covers; use uniform or poisson",
      ),
      (
        min_clients > 0,
        f"--min_clients={min_clients}",
        "who is turned down or comes too late would decide whether a round"
        " counts, and cohorts that are drawn until they are large enough are no"
        " Poisson samples; use --min_clients=0, or leave it out: each round"
        " then counts, with its noise, whoever came",
      ),
    ):
      if unsound:
        raise InputError(
          f"found --privacy={self.mechanism} with {flag}, expected them apart:"
          f" {why}"
        )

  @property
  def is_private(self) -> bool:
    """Whether there is any noise."""
    return self.mechanism != "none"

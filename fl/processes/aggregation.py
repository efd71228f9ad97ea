"""Which way of averaging a run uses, and which combinations are unsound."""

import dataclasses

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl.dropout.tiers import Tiers
from fl.privacy.privacy_config import PrivacyConfig
from fl.processes.aggregator import build_aggregator
from fl.processes.factory_aggregator import build_factory_aggregator
from fl.processes.order_aggregator import build_order_aggregator
from lingvo_lite.stage.errors import InputError

AGGREGATIONS = ("mean", "clipped_mean", "trimmed_mean", "median")
# What TFF's compression does: smaller updates are sent as they are.
_COMPRESSED_ABOVE = 20000
_COMPRESSED_BITS = 8


@dataclasses.dataclass(frozen=True)
class AggregationConfig:
  """How the server makes one update of many.

  Attributes:
    rule: `mean`: weighted by the clients' examples; `clipped_mean`: the same,
      with norms clipped to an adaptive quantile and far larger updates zeroed,
      by `tff.learning.robust_aggregator`; `trimmed_mean`; `median`.
    trim_fraction: of the trimmed mean, at either end.
    privacy: noise for differential privacy; replaces the mean.
    secure: whether sums are secure, so that no single update is seen
      (`tff.learning.secure_aggregator`; its protocol is simulated here).
    compressed: whether updates are sent as 8-bit integers.
  """

  rule: str = "mean"
  trim_fraction: float = 0.1
  privacy: PrivacyConfig = PrivacyConfig()
  secure: bool = False
  compressed: bool = False

  def __post_init__(self):
    if self.rule not in AGGREGATIONS:
      raise InputError(
        f"found --aggregation={self.rule}, expected one of"
        f" {', '.join(AGGREGATIONS)}"
      )
    if not 0 < self.trim_fraction < 0.5:
      raise InputError(
        f"found --trim_fraction={self.trim_fraction}, expected it in (0, 0.5)"
      )
    ordered = self.rule in ("trimmed_mean", "median")
    for both, why in (
      (
        self.secure and ordered,
        f"--secure_aggregation with --aggregation={self.rule}: a server that"
        " sees sums only cannot put single updates in order",
      ),
      (
        self.privacy.is_private and self.rule != "mean",
        f"--privacy with --aggregation={self.rule}: the noise is measured for"
        " a sum of clipped updates, not for that",
      ),
      (
        self.privacy.is_private and self.compressed,
        "--privacy with --compress_updates: rounding may lift an update above"
        " the norm that it was clipped to, and the noise would be too small",
      ),
      (
        self.privacy.is_private and self.secure,
        "--privacy with --secure_aggregation: this noise is added by a server"
        " that sees the sum, to real numbers; a secure sum is of integers, and"
        " wants noise from the clients",
      ),
      (
        self.secure and self.compressed,
        "--secure_aggregation with --compress_updates: encoded updates cannot"
        " be added up without being seen",
      ),
      (
        ordered and self.compressed,
        f"--aggregation={self.rule} with --compress_updates: TFF decodes the"
        " sum of updates only",
      ),
    ):
      if both:
        raise InputError(f"found {why}; leave one of the two out")

  @property
  def uses_factory(self) -> bool:
    """Whether one of TFF's aggregators does it."""
    return (
      self.privacy.is_private
      or self.secure
      or self.compressed
      or self.rule == "clipped_mean"
    )

  def check_tiers(self, tiers: Tiers) -> None:
    """Raises InputError where the clients' selections do not go with it."""
    selection, *others = tiers.selections
    if self.uses_factory and others:
      raise InputError(
        "found --tiers with --privacy, --secure_aggregation, --compress_updates"
        " or --aggregation=clipped_mean, expected one size of sub-models for"
        " all clients, by --plan: what clips, masks, encodes or adds noise is"
        " made for the sum of vectors of one size"
      )
    whole = selection.sub_model.is_whole
    if self.uses_factory and not selection.is_shared and not whole:
      raise InputError(
        "found --mask_scope=client with --privacy, --secure_aggregation,"
        " --compress_updates or --aggregation=clipped_mean, expected"
        " --mask_scope=round: each client would send other coordinates, and who"
        " held which would show; with one draw for all, sums, norms and noise"
        " are those of the sub-model"
      )
    if self.privacy.mechanism == "tree" and not whole:
      raise InputError(
        "found --privacy=tree with sub-models, expected the full model: its"
        " noise cancels from round to round only where the same coordinates"
        " come again; use --privacy=gaussian, or keep rates of 1"
      )


def build_chosen_aggregator(
  tiers: Tiers, config: AggregationConfig, cohort: int
) -> tff.templates.MeasuredProcess:
  """Builds the aggregator slot that a configuration asks for.

  Args:
    tiers: who held which units.
    config: the choice.
    cohort: clients a round, the mean's denominator under differential privacy.

  Raises:
    InputError: the clients' selections do not go with the choice.
  """
  config.check_tiers(tiers)
  if config.rule == "trimmed_mean":
    return build_order_aggregator(tiers, config.trim_fraction)
  if config.rule == "median":
    return build_order_aggregator(tiers, 0.5)
  if not config.uses_factory:
    return build_aggregator(tiers)
  (selection,) = tiers.selections
  return build_factory_aggregator(
    selection, _factory(config, cohort, selection.sub_model.client_params)
  )


def upload_values_bytes(config: AggregationConfig, params: int) -> int:
  """Returns how many bytes the values of an update take on their way.

  Args:
    config: the choice.
    params: how many values there are.
  """
  if not config.compressed or params <= _COMPRESSED_ABOVE:
    return params * tf.float32.size
  # TFF packs them into whole int32 and adds the range, two float32.
  per_word = 8 * tf.int32.size // _COMPRESSED_BITS
  return -(-params // per_word) * tf.int32.size + 2 * tf.float32.size


def _factory(
  config: AggregationConfig, cohort: int, params: int
) -> tff.aggregators.AggregationFactory:
  privacy = config.privacy
  private = tff.aggregators.DifferentiallyPrivateFactory
  clipped = config.rule == "clipped_mean"
  if privacy.mechanism == "gaussian":
    return private.gaussian_fixed(
      privacy.noise_multiplier, cohort, privacy.clip_norm
    )
  if privacy.mechanism == "adaptive_gaussian":
    return private.gaussian_adaptive(
      privacy.noise_multiplier,
      cohort,
      initial_l2_norm_clip=privacy.clip_norm,
      # On how many clients were clipped. TFF's default, the first of the two,
      # cannot make up for z in a small cohort; with the second, the noise on
      # the updates grows by 15 % for it.
      clipped_count_stddev=max(0.05 * cohort, privacy.noise_multiplier),
    )
  if privacy.mechanism == "tree":
    return private.tree_aggregation(
      privacy.noise_multiplier,
      cohort,
      privacy.clip_norm,
      tf.TensorSpec([params], np.float32),
    )
  if config.secure:
    return tff.learning.secure_aggregator(zeroing=clipped, clipping=clipped)
  if config.compressed:
    return tff.learning.compression_aggregator(
      zeroing=clipped, clipping=clipped
    )
  return tff.learning.robust_aggregator()

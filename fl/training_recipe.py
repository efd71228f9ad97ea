"""How clients and server train: models, optimizers and schedules of a run."""

import dataclasses
from collections.abc import Callable, Sequence

import tensorflow as tf
import tensorflow_federated as tff

from fl.data.client_data import ClientData
from fl.dropout.plan import DropoutPlan
from fl.dropout.sub_model import VariableSpec
from fl.dropout.tiers import Tiers
from fl.faults.fault_lab import FaultConfig
from fl.federated_config import FederatedConfig
from fl.ladder import Ladder
from fl.processes.aggregation import AggregationConfig
from fl.processes.client_work import LocalTraining
from fl.processes.compose import FederatedProcess, build_federated_process
from fl.quantized_model import QuantizedModel
from fl.rehearsal import Rehearsal, RehearsalPlan
from lingvo_lite.audio.spec_augment import SpecAugmentConfig
from lingvo_lite.data.batching import bucketed_batches
from lingvo_lite.data.examples import ExampleSet
from lingvo_lite.layers.unit_dropout import LEAST_UNIT_KEEP_RATE
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.stage.errors import InputError
from lingvo_lite.training.ctc_objective import ctc_objective

# Few voices say what only clients say; warped further than the server's speech,
# theirs stand for those of people who take no part.
CLIENT_AUGMENT = SpecAugmentConfig(max_pitch_warp=0.2, max_speed_change=0.2)
SERVER_AUGMENT = SpecAugmentConfig()

# As in pre-training: a step costs the same and learns from as much.
_REHEARSAL_BATCH_SIZE = 16
_REHEARSAL_LEARNING_RATE = 1e-3


def build_process(
  config: FederatedConfig,
  plans: Sequence[DropoutPlan],
  model_config: ConformerConfig,
  tiers: Tiers,
  specs: Sequence[VariableSpec],
  data: ClientData,
  aggregation: AggregationConfig,
  faults: FaultConfig,
  form: Ladder | QuantizedModel | None,
) -> FederatedProcess:
  """Builds a run's rounds for the sub-models of its plans.

  Args:
    config: of the run.
    plans: how wide the clients' layers are, in each tier.
    model_config: of the server's model.
    tiers: which units each client gets.
    specs: the server's variables.
    data: the clients' speech.
    aggregation: how one update is made of many.
    faults: what clients do wrong, on purpose.
    form: what is trained in place of plain weights: levels of sparsity at once,
      or weights on a grid; None: plain weights.

  Raises:
    InputError: the aggregation does not go with the selection, or would not
      leave zeros as they are.
  """
  if config.keep_zeros and (
    aggregation.privacy.is_private or aggregation.compressed
  ):
    raise InputError(
      "found --keep_zeros with --privacy or --compress_updates, expected"
      " neither: noise and rounding fill the zeros; train the model first, then"
      " prune it"
    )

  def training(plan: DropoutPlan) -> LocalTraining:
    # No more noise than the units left out: with both, clients learned slower
    # and not better.
    client_config = dataclasses.replace(
      model_config.with_widths(plan.kept), dropout_rate=0.0
    )
    return dataclasses.replace(
      _local_training(
        config,
        lambda: build_ctc_model(
          client_config, output_scaling=config.output_scaling
        ),
        config.client_learning_rate,
        form,
      ),
      learning_rate=config.client_schedule,
      proximal_strength=config.proximal_strength,
      variational_noise=(
        (lambda r: tf.constant(config.variational_noise))
        if config.variational_noise
        else None
      ),
      max_update_norm=config.max_update_norm,
      sabotage=faults.sabotage if faults.sabotages else None,
    )

  return build_federated_process(
    specs,
    tiers,
    [training(plan) for plan in plans],
    data.batch_spec,
    # The mean update of clients that ran Adam is at first about 5e-3 a weight.
    # An epsilon near that lets the server keep its proportions (Reddi et al.
    # 2021, "Adaptive Federated Optimization", section 4: tau); more momentum
    # than this only lags behind.
    tff.learning.optimizers.build_adam(
      config.server_learning_rate, beta_1=0.5, beta_2=0.9, epsilon=5e-3
    ),
    lambda r: config.schedule(config.server_learning_rate, r),
    aggregation,
    config.cohort,
  )


def build_rehearsal(
  config: FederatedConfig,
  plans: Sequence[DropoutPlan],
  model_config: ConformerConfig,
  public_set: ExampleSet,
  form: Ladder | QuantizedModel | None,
) -> Rehearsal | None:
  """Builds what the server does after each round.

  Args:
    config: of the run.
    plans: how wide the clients' layers are, in each tier.
    model_config: of the server's model.
    public_set: the server's speech.
    form: what is trained in place of plain weights: levels of sparsity at once,
      or weights on a grid; None: plain weights.

  Returns:
    The rehearsal; None: the run does without.
  """
  if not config.rehearsal_steps:
    return None

  def batches(start: int) -> tf.data.Dataset:
    return bucketed_batches(
      public_set.examples,
      _REHEARSAL_BATCH_SIZE,
      config.seed,
      SERVER_AUGMENT,
      start_step=start,
    )

  whole = all(plan.is_whole for plan in plans)
  # With whole units left out, as in pre-training, where what the clients get in
  # the next round are parts of this model.
  least_keep_rate = None if whole else LEAST_UNIT_KEEP_RATE
  training = _local_training(
    config,
    lambda: build_ctc_model(model_config, least_unit_keep_rate=least_keep_rate),
    _REHEARSAL_LEARNING_RATE,
    form,
  )
  return Rehearsal(RehearsalPlan(training, batches, config.rehearsal_steps))


def _local_training(
  config: FederatedConfig,
  build_model: Callable[[], tf.keras.Model],
  learning_rate: float,
  form: Ladder | QuantizedModel | None,
) -> LocalTraining:
  return LocalTraining(
    build_model=build_model,
    objective=ctc_objective,
    # Of Adam's kind, and new each round: plain SGD takes a client nowhere from
    # a model that is sure of the wrong words.
    optimizer=tff.learning.optimizers.build_adam(learning_rate, epsilon=1e-5),
    learning_rate=lambda r: config.schedule(learning_rate, r),
    clip_norm=config.client_clip_norm,
    keep_zeros=config.keep_zeros,
    gradients=form.gradients if form else None,
    seed=config.seed,
  )

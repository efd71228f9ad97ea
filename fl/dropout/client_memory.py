"""How much memory a client's local training takes, by a model of it.

  bytes = 4 (COPIES * parameters + batch * retained activations)

The parameters stand in memory as what the client received, the variables, the
gradients, Adam's two moments, the values that a step writes, and the update.
The activations are what the backward pass comes back to: the inputs of layers
whose gradient depends on them, what a ReLU lets through, and the attention
weights. What TensorFlow itself takes (its code, its threads, scratch space of
its kernels) is much the same for any sub-model and is left out.
`client_memory_test.py` compares the model with the memory that a real step
takes.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from fl.dropout.budget import Budget
from lingvo_lite.layers.gated_linear_unit import GatedLinearUnit
from lingvo_lite.layers.norms import BatchNorm, GroupNorm
from lingvo_lite.layers.relative_attention import RelativeAttention
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.stage.errors import InputError

_COPIES = 7
_FLOAT_BYTES = 4
# Layers whose gradient needs their input; the others add, scale, pad or mask.
_NEED_INPUT = (
  tf.keras.layers.Activation,
  tf.keras.layers.Conv2D,
  tf.keras.layers.Dense,
  tf.keras.layers.DepthwiseConv1D,
  tf.keras.layers.LayerNormalization,
  BatchNorm,
  GatedLinearUnit,
  GroupNorm,
  RelativeAttention,
)


@dataclasses.dataclass(frozen=True)
class LocalBatch:
  """The largest batch that a client trains on.

  Attributes:
    utterances: in the batch.
    frames: of 10 ms, of the longest utterance.
  """

  utterances: int
  frames: int

  def __post_init__(self):
    for name in ("utterances", "frames"):
      if getattr(self, name) < 1:
        raise InputError(
          f"found {getattr(self, name)} {name} in the largest batch, expected 1"
          " or more"
        )


def peak_memory_bytes(config: ConformerConfig, batch: LocalBatch) -> int:
  """Returns what training a model takes.

  Args:
    config: of the client's model; its `widths` are those of the sub-model.
    batch: the largest that it trains on.
  """
  return sum(_bytes_by_layer(config, batch).values())


def peak_memory_budget(
  config: ConformerConfig, batch: LocalBatch, limit: int
) -> Budget:
  """Limits what a client's training takes.

  What a group's unit adds is the same whatever else is kept, so that two
  models tell the cost of all of them: the full one, and the one with a single
  unit in each group.

  Args:
    config: of the full model.
    batch: the largest that a client trains on.
    limit: in bytes.
  """
  units = config.full_units()
  whole = _bytes_by_layer(config, batch)
  thin = _bytes_by_layer(config.with_widths({name: 1 for name in units}), batch)
  per_unit = {}
  for name, count in units.items():
    saved = sum(
      whole.get(layer, 0) - thin.get(layer, 0)
      # Only the narrow model has a layer that makes up for what it lacks.
      for layer in {*whole, *thin}
      if layer.startswith(name + "/")
    )
    per_unit[name] = saved // max(count - 1, 1)
  fixed = sum(whole.values()) - sum(
    per_unit[name] * count for name, count in units.items()
  )
  return Budget("peak_memory_bytes", limit, fixed, per_unit)


def _bytes_by_layer(
  config: ConformerConfig, batch: LocalBatch
) -> dict[str, int]:
  model = build_ctc_model(config)
  layers = [layer for layer in model.layers if layer.inbound_nodes]
  outputs = tf.keras.Model(model.inputs, [layer.output for layer in layers])(
    [
      tf.zeros([1, batch.frames, config.num_mel_bins]),
      tf.constant([batch.frames]),
    ]
  )
  needed = {
    before.name
    for layer in layers
    if isinstance(layer, _NEED_INPUT)
    for before in tf.nest.flatten(layer.inbound_nodes[0].inbound_layers)
  }
  sizes = {}
  for layer, output in zip(layers, outputs, strict=True):
    activations = 0
    if layer.name in needed or isinstance(layer, tf.keras.layers.ReLU):
      activations += int(np.prod(output.shape))
    if isinstance(layer, RelativeAttention):
      activations += layer.num_heads * output.shape[1] ** 2
    sizes[layer.name] = _FLOAT_BYTES * (
      _COPIES * layer.count_params() + batch.utterances * activations
    )
  return sizes

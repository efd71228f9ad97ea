"""How much memory a client's local training takes at most, by a model of it.

  bytes = 4 (COPIES * parameters + batch * retained activations)

The parameters stand in memory as what the client received, the variables, the
gradients, Adam's two moments, the values that a step writes, and the update.
The activations that the backward pass comes back to are the output of every
layer and the square matrices within attention. What TensorFlow itself takes
(its code, its thread pools) is the same for any sub-model and is left out.
`client_memory_test.py` compares the model with the memory that a real step
takes.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from fl.dropout.budget import Budget
from lingvo_lite.layers.relative_attention import RelativeAttention
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.stage.errors import InputError

_COPIES = 7
_FLOAT_BYTES = 4
# The scores by distance as multiplied, padded and shifted, at 2T - 1 columns.
_WIDE_SCORES = 3
# The scores by content, their sum, and their softmax, at T columns.
_SQUARE_SCORES = 3


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
  thin = _bytes_by_layer(
    config.with_widths({name: 1 for name in units}), batch
  )
  per_unit = {}
  for name, count in units.items():
    saved = sum(
      size - thin.get(layer, 0)
      for layer, size in whole.items()
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
  sizes = {}
  for layer, output in zip(layers, outputs, strict=True):
    activations = int(np.prod(output.shape))
    if isinstance(layer, RelativeAttention):
      frames = output.shape[1]
      activations += layer.num_heads * (
        _WIDE_SCORES * frames * (2 * frames - 1)
        + _SQUARE_SCORES * frames * frames
      )
    if not isinstance(layer, tf.keras.layers.InputLayer) and _is_view(layer):
      activations = 0
    sizes[layer.name] = _FLOAT_BYTES * (
      _COPIES * layer.count_params() + batch.utterances * activations
    )
  return sizes


def _is_view(layer: tf.keras.layers.Layer) -> bool:
  """Whether a layer's output shares its input's memory, or is tiny."""
  return layer.name.endswith(("/lengths", "/add_channel", "/join_bins"))

"""Nested masks of blocks: what a sparser level keeps, a denser one keeps too.

A matrix's blocks are ranked once by the sum of their weights' magnitudes; a
level keeps the highest ranks. So the masks of all levels follow from one
ranking, and are nested whatever the levels are.

Reference: block pooling as in Zhu and Gupta 2017, "To prune, or not to prune",
as TF-MOT does it with `block_size=(16, 1)`; there for one sparsity.
"""

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

from lingvo_lite.stage.errors import InputError


@dataclasses.dataclass(frozen=True)
class BlockLayers:
  """Which matrices of a model are made sparse.

  Attributes:
    sparse: names of the layers, in the order of the model.
    dense: name -> why it stays dense at all levels.
  """

  sparse: tuple[str, ...]
  dense: Mapping[str, str]


def find_block_layers(model: tf.keras.Model, block: int) -> BlockLayers:
  """Sorts a model's `Dense` layers.

  The last one stays dense: it is 0.2% of the weights, and a label whose blocks
  are all zero could never be written.

  Args:
    model: plain Keras.
    block: weights a block, along the inputs.

  Raises:
    InputError: a block divides no layer's input width.
  """
  layers = [
    layer for layer in model.layers if isinstance(layer, tf.keras.layers.Dense)
  ]
  sparse: list[str] = []
  dense: dict[str, str] = {}
  for layer in layers:
    width = layer.kernel.shape[0]
    if layer is layers[-1]:
      dense[layer.name] = "it writes the labels"
    elif width % block:
      dense[layer.name] = (
        f"its input width {width} is no multiple of the block of {block}"
      )
    else:
      sparse.append(layer.name)
  if not sparse:
    listed = "; ".join(f"{name}: {why}" for name, why in dense.items())
    raise InputError(
      f"found no layer that blocks of {block} fit ({listed}), expected one:"
      " choose a block that divides the widths"
    )
  return BlockLayers(tuple(sparse), dense)


def block_ranks(kernel: tf.Tensor, block: int) -> tf.Tensor:
  """Ranks a matrix's blocks by the sum of their weights' magnitudes.

  Args:
    kernel: float32[inputs, outputs]; `block` divides the inputs.
    block: weights a block.

  Returns:
    int32[inputs / block, outputs], each of 0 to their number less 1 once, 0 for
    the smallest; of equals the first is smaller.
  """
  inputs, outputs = kernel.shape
  shape = [inputs // block, block, outputs]
  sums = tf.reduce_sum(tf.abs(tf.reshape(kernel, shape)), axis=1)
  order = tf.argsort(tf.reshape(sums, [-1]), stable=True)
  return tf.reshape(tf.argsort(order), sums.shape)


def kept_blocks(ranks: tf.Tensor, sparsity: tf.Tensor) -> tf.Tensor:
  """Returns which blocks a level keeps; one at least.

  Args:
    ranks: what `block_ranks` returned.
    sparsity: float32[], the fraction that is dropped, in [0, 1).

  Returns:
    bool, of the ranks' shape.
  """
  count = ranks.shape.num_elements()
  dropped = tf.cast(tf.round(sparsity * count), tf.int32)
  return ranks >= tf.minimum(dropped, count - 1)


def weight_mask(kept: tf.Tensor, block: int) -> tf.Tensor:
  """Returns float32[inputs, outputs] of ones and zeros.

  Args:
    kept: bool[inputs / block, outputs].
    block: weights a block.
  """
  return tf.repeat(tf.cast(kept, tf.float32), block, axis=0)

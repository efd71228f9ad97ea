"""TF-MOT's extension points, filled for low-bit symmetric weights."""

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_model_optimization.quantization.keras import (
  QuantizeConfig,
  QuantizeWrapperV2,
  quantizers,
)

from lingvo_lite.quantization.grid import (
  channel_scales,
  fake_quantize,
  largest_weights,
  search_clips,
)
from tflite_export.pruning.mask_schedule import MaskUpdate

# The smallest and the largest clip that training may reach.
_CLIP_RANGE = (0.1, 1.0)


@dataclasses.dataclass(frozen=True)
class KernelRule:
  """What training makes of a kernel.

  Attributes:
    bits: of an integer; None: the kernel is masked and stays float.
    train_clips: whether the scales are trained with the weights.
    dropped_decay: strength of the pull to zero on dropped weights, which then
      see the gradients of the masked kernel and may come back when the mask is
      chosen anew (SR-STE, Zhou et al. 2021, "Learning N:M Fine-grained
      Structured Sparse Neural Networks From Scratch", eq. 9; there 2e-4). 0:
      dropped weights see no gradient.
    noise: standard deviation of what is added to each kept weight in every
      forward pass of the training, as a fraction of the largest weight of its
      channel (variational noise, Graves 2011, "Practical Variational Inference
      for Neural Networks").
  """

  bits: int | None
  train_clips: bool = True
  dropped_decay: float = 0.0
  noise: float = 0.0


class MaskedGridQuantizer(quantizers.Quantizer):
  """Masks weights, then moves them onto the grid of `grid.py`.

  The mask comes first, so that the scale is that of the kept weights
  (USM-Lite's order); a pruned weight stays zero whatever the gradient says.

  Args:
    rule: what to do.
  """

  def __init__(self, rule: KernelRule):
    self.rule = rule
    self._noise_seed = 0

  def build(
    self, tensor_shape: tf.TensorShape, name: str, layer: tf.keras.layers.Layer
  ) -> dict[str, tf.Variable]:
    self._noise_seed = zlib.crc32(f"{layer.name}/{name}".encode()) % 2**31
    weights = {
      "mask": layer.add_weight(
        f"{name}_mask", tensor_shape, initializer="ones", trainable=False
      )
    }
    if self.rule.bits is not None:
      scales = channel_scales(tf.zeros(tensor_shape), self.rule.bits)
      weights["clip"] = layer.add_weight(
        f"{name}_clip",
        scales.shape,
        initializer="ones",
        trainable=self.rule.train_clips,
        constraint=lambda clip: tf.clip_by_value(clip, *_CLIP_RANGE),
      )
    return weights

  def __call__(self, inputs, training, weights, **kwargs):
    kernel = _masked(inputs, weights["mask"], self.rule.dropped_decay)
    noisy = kernel
    if self.rule.noise:
      deviation = self.rule.noise * tf.stop_gradient(largest_weights(kernel))
      draws = tf.random.normal(tf.shape(kernel), seed=self._noise_seed)
      noisy += deviation * draws * weights["mask"]
    bits = self.rule.bits
    if bits is None:
      return noisy
    scales = channel_scales(kernel, bits, weights["clip"])
    return fake_quantize(noisy, scales, bits)

  def get_config(self) -> dict[str, Any]:
    return dataclasses.asdict(self.rule)


class KernelQuantizeConfig(QuantizeConfig):
  """Quantises a layer's kernel; bias and activations stay float in training.

  At run time LiteRT quantises the activations that a matrix sees to int8, row
  by row, on its own.

  Args:
    rule: what to do.
    kernel: the attribute that holds the kernel.
  """

  def __init__(self, rule: KernelRule, kernel: str):
    self.rule = rule
    self.kernel = kernel

  def get_weights_and_quantizers(
    self, layer: tf.keras.layers.Layer
  ) -> list[tuple[tf.Variable, quantizers.Quantizer]]:
    return [(getattr(layer, self.kernel), MaskedGridQuantizer(self.rule))]

  def set_quantize_weights(
    self, layer: tf.keras.layers.Layer, quantize_weights: list[tf.Tensor]
  ) -> None:
    setattr(layer, self.kernel, quantize_weights[0])

  def get_activations_and_quantizers(
    self, layer: tf.keras.layers.Layer
  ) -> list[Any]:
    return []

  def set_quantize_activations(
    self, layer: tf.keras.layers.Layer, quantize_activations: list[Callable]
  ) -> None:
    pass

  def get_output_quantizers(self, layer: tf.keras.layers.Layer) -> list[Any]:
    return []

  def get_config(self) -> dict[str, Any]:
    return {**dataclasses.asdict(self.rule), "kernel": self.kernel}


def kernel_name(layer: tf.keras.layers.Layer) -> str | None:
  """Returns the attribute that holds a layer's kernel; None: it has none."""
  # The order matters: a depthwise convolution is a convolution too.
  if isinstance(layer, tf.keras.layers.DepthwiseConv1D):
    return "depthwise_kernel"
  if isinstance(layer, tf.keras.layers.Dense | tf.keras.layers.Conv2D):
    return "kernel"
  return None


def kernel_of(layer: tf.keras.layers.Layer) -> tf.Variable:
  """Returns the kernel of a layer; TypeError if it has none."""
  name = kernel_name(layer)
  if name is None:
    raise TypeError(f"found no kernel in the layer {layer.name}, expected one")
  return getattr(layer, name)


def quantize_aware(
  model: tf.keras.Model,
  rules: Mapping[str, KernelRule],
  masks: Mapping[str, np.ndarray],
) -> tf.keras.Model:
  """Wraps layers for quantisation-aware training.

  Args:
    model: plain Keras.
    rules: layer name -> what training makes of its kernel.
    masks: layer name -> 1 where a weight is kept, of the pruned layers.

  Returns:
    A model of its own with the same weights, its scales searched; `strip.py`
    makes it plain again.
  """

  def wrap(layer):
    copy = layer.__class__.from_config(layer.get_config())
    if layer.name not in rules:
      return copy
    return QuantizeWrapperV2(
      copy,
      KernelQuantizeConfig(rules[layer.name], kernel_name(layer)),
      name=layer.name,
      name_prefix="",
    )

  wrapped = tf.keras.models.clone_model(model, clone_function=wrap)
  for layer in model.layers:
    copy = wrapped.get_layer(layer.name)
    if layer.name not in rules:
      copy.set_weights(layer.get_weights())
      continue
    by_leaf = weights_by_leaf(copy)
    for weight in layer.weights:
      by_leaf[leaf_name(weight)].assign(weight)
    kernel = kernel_of(layer).numpy()
    if layer.name in masks:
      by_leaf[f"{kernel_name(layer)}_mask"].assign(masks[layer.name])
      kernel = kernel * masks[layer.name]
    bits = rules[layer.name].bits
    if bits is not None:
      clips = search_clips(kernel, bits)
      by_leaf[f"{kernel_name(layer)}_clip"].assign(clips)
  return wrapped


def mask_update(
  wrapped: tf.keras.Model, names: Sequence[str], kept_of: tuple[int, int]
) -> MaskUpdate:
  """Returns what chooses the masks of wrapped `Dense` layers anew."""
  leaves = [weights_by_leaf(wrapped.get_layer(name)) for name in names]
  return MaskUpdate(
    [leaf["kernel"] for leaf in leaves],
    [leaf["kernel_mask"] for leaf in leaves],
    kept_of,
  )


def weights_by_leaf(layer: tf.keras.layers.Layer) -> dict[str, tf.Variable]:
  """Returns a layer's variables by the last part of their names."""
  return {leaf_name(weight): weight for weight in layer.weights}


def leaf_name(variable: tf.Variable) -> str:
  """Returns the last part of a variable's name: `kernel`, `bias`."""
  return variable.name.split(":")[0].split("/")[-1]


def _masked(
  kernel: tf.Tensor, mask: tf.Tensor, dropped_decay: float
) -> tf.Tensor:
  if not dropped_decay:
    return kernel * mask

  @tf.custom_gradient
  def straight_through(raw):
    def gradient(upstream):
      return upstream + dropped_decay * (1 - mask) * raw

    return raw * mask, gradient

  return straight_through(kernel)

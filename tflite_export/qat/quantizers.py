"""TF-MOT's extension points, filled for low-bit symmetric weights."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow_model_optimization.quantization.keras import (
  QuantizeConfig,
  QuantizeWrapperV2,
  quantizers,
)

from tflite_export.qat.grid import fake_quantize


class MaskedGridQuantizer(quantizers.Quantizer):
  """Masks weights, then moves them onto the grid of `grid.py`.

  The mask comes first, so that the scale is that of the kept weights
  (USM-Lite's order); a pruned weight stays zero whatever the gradient says.

  Args:
    bits: of an integer.
  """

  def __init__(self, bits: int):
    self.bits = bits

  def build(
    self, tensor_shape: tf.TensorShape, name: str, layer: tf.keras.layers.Layer
  ) -> dict[str, tf.Variable]:
    mask = layer.add_weight(
      f"{name}_mask", tensor_shape, initializer="ones", trainable=False
    )
    return {"mask": mask}

  def __call__(self, inputs, training, weights, **kwargs):
    return fake_quantize(inputs * weights["mask"], self.bits)

  def get_config(self) -> dict[str, Any]:
    return {"bits": self.bits}


class KernelQuantizeConfig(QuantizeConfig):
  """Quantises a layer's kernel; bias and activations stay float in training.

  At run time LiteRT quantises the activations that a matrix sees to int8, row
  by row, on its own.

  Args:
    bits: of an integer.
    kernel: the attribute that holds the kernel.
  """

  def __init__(self, bits: int, kernel: str):
    self.bits = bits
    self.kernel = kernel

  def get_weights_and_quantizers(
    self, layer: tf.keras.layers.Layer
  ) -> list[tuple[tf.Variable, quantizers.Quantizer]]:
    return [(getattr(layer, self.kernel), MaskedGridQuantizer(self.bits))]

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
    return {"bits": self.bits, "kernel": self.kernel}


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
  model: tf.keras.Model, bits_by_layer: dict[str, int]
) -> tf.keras.Model:
  """Wraps layers for quantisation-aware training.

  Args:
    model: plain Keras, pruned or not. Weights that are zero stay zero.
    bits_by_layer: layer name -> bits.

  Returns:
    A model of its own with the same weights; `strip.py` makes it plain again.
  """

  def wrap(layer):
    copy = layer.__class__.from_config(layer.get_config())
    if layer.name not in bits_by_layer:
      return copy
    return QuantizeWrapperV2(
      copy,
      KernelQuantizeConfig(bits_by_layer[layer.name], kernel_name(layer)),
      name=layer.name,
      name_prefix="",
    )

  wrapped = tf.keras.models.clone_model(model, clone_function=wrap)
  for layer in model.layers:
    copy = wrapped.get_layer(layer.name)
    if layer.name not in bits_by_layer:
      copy.set_weights(layer.get_weights())
      continue
    by_leaf = weights_by_leaf(copy)
    for weight in layer.weights:
      by_leaf[leaf_name(weight)].assign(weight)
    kept = tf.cast(kernel_of(layer) != 0, tf.float32)
    by_leaf[f"{kernel_name(layer)}_mask"].assign(kept)
  return wrapped


def weights_by_leaf(layer: tf.keras.layers.Layer) -> dict[str, tf.Variable]:
  """Returns a layer's variables by the last part of their names."""
  return {leaf_name(weight): weight for weight in layer.weights}


def leaf_name(variable: tf.Variable) -> str:
  """Returns the last part of a variable's name: `kernel`, `bias`."""
  return variable.name.split(":")[0].split("/")[-1]

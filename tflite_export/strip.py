"""From wrapped models back to plain Keras, weights on their grid."""

from collections.abc import Mapping

import tensorflow as tf

from lingvo_lite.quantization.grid import find_grid, short_floats
from tflite_export.qat.quantizers import (
  KernelRule,
  leaf_name,
  weights_by_leaf,
)


def strip(
  wrapped: tf.keras.Model,
  plain: tf.keras.Model,
  rules: Mapping[str, KernelRule],
) -> tf.keras.Model:
  """Copies trained weights into a plain model, quantised ones on their grid.

  Where kernels are quantised, the vectors beside them (biases, norms) keep 8
  significant bits: they are 1% of the weights, and their other 16 bits would be
  a twentieth of a compressed file.

  Args:
    wrapped: what `quantize_aware` returned, trained.
    plain: a model of the same layers without wrappers; a copy is filled.
    rules: layer name -> what was made of its kernel.

  Returns:
    A plain model; `find_grid` reads the trained integers from its kernels.
  """
  stripped = tf.keras.models.clone_model(plain)
  short = any(rule.bits is not None for rule in rules.values())
  for layer in stripped.layers:
    trained = weights_by_leaf(wrapped.get_layer(layer.name))
    for weight in layer.weights:
      leaf = leaf_name(weight)
      value = tf.convert_to_tensor(trained[leaf])
      if f"{leaf}_mask" in trained:
        value = value * trained[f"{leaf}_mask"]
        bits = rules[layer.name].bits
        if bits is not None:
          clips = trained[f"{leaf}_clip"].numpy()
          value = find_grid(value.numpy(), bits, clips).values
      elif short:
        value = short_floats(value)
      weight.assign(value)
  return stripped

"""From wrapped models back to plain Keras, weights on their grid."""

import tensorflow as tf

from tflite_export.qat.grid import find_grid
from tflite_export.qat.quantizers import leaf_name, weights_by_leaf


def strip(
  wrapped: tf.keras.Model, plain: tf.keras.Model, bits_by_layer: dict[str, int]
) -> tf.keras.Model:
  """Copies trained weights into a plain model, quantised ones on their grid.

  Args:
    wrapped: what `quantize_aware` returned, trained.
    plain: a model of the same layers without wrappers; a copy is filled.
    bits_by_layer: layer name -> bits, of the wrapped layers.

  Returns:
    A plain model; `find_grid` reads the trained integers from its kernels.
  """
  stripped = tf.keras.models.clone_model(plain)
  for layer in stripped.layers:
    trained = weights_by_leaf(wrapped.get_layer(layer.name))
    for weight in layer.weights:
      value = trained[leaf_name(weight)].numpy()
      mask = trained.get(f"{leaf_name(weight)}_mask")
      if mask is not None:
        value = value * mask.numpy()
        value = find_grid(value, bits_by_layer[layer.name]).values
      weight.assign(value)
  return stripped

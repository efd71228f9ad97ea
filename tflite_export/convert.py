"""Keras to a float32 .tflite file."""

import tempfile

import tensorflow as tf

from tflite_export.offline_model import SIGNATURE, build_transcriber
from tflite_export.quiet import quiet_standard_error


def convert(model: tf.keras.Model) -> bytes:
  """Returns the float32 .tflite file of a model, sound to labels.

  Args:
    model: what `build_ctc_model` returned.
  """
  module = build_transcriber(model)
  with tempfile.TemporaryDirectory() as folder, quiet_standard_error():
    tf.saved_model.save(
      module,
      folder,
      signatures={SIGNATURE: module.transcribe.get_concrete_function()},
    )
    converter = tf.lite.TFLiteConverter.from_saved_model(
      folder, signature_keys=[SIGNATURE]
    )
    # No Flex: only operations that every runtime has.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    # It would fold a norm's gains into the next matrix: off the trained grid.
    converter._experimental_disable_fuse_mul_and_fc = True
    converter.exclude_conversion_metadata = True
    return converter.convert()

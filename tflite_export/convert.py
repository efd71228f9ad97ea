"""Keras to a float32 .tflite file."""

import tempfile

import tensorflow as tf

from lingvo_lite.models.conformer_config import ConformerConfig
from tflite_export.offline_model import SIGNATURE, build_transcriber
from tflite_export.quiet import quiet_standard_error
from tflite_export.streaming_model import build_streamer
from tflite_export.streaming_signatures import STREAM


def convert(model: tf.keras.Model, config: ConformerConfig) -> bytes:
  """Returns the float32 .tflite file of a model, sound to labels.

  Args:
    model: what `build_ctc_model(config)` returned.
    config: its configuration; if it streams, so does the file.
  """
  module = tf.Module()
  module.transcriber = build_transcriber(model)
  signatures = {
    SIGNATURE: module.transcriber.transcribe.get_concrete_function()
  }
  if config.streams:
    module.streamer = build_streamer(model, config)
    signatures[STREAM] = module.streamer.stream.get_concrete_function()
  with tempfile.TemporaryDirectory() as folder, quiet_standard_error():
    tf.saved_model.save(module, folder, signatures=signatures)
    converter = tf.lite.TFLiteConverter.from_saved_model(
      folder, signature_keys=list(signatures)
    )
    # No Flex: only operations that every runtime has.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    # It would fold a norm's gains into the next matrix: off the trained grid.
    converter._experimental_disable_fuse_mul_and_fc = True
    converter.exclude_conversion_metadata = True
    return converter.convert()

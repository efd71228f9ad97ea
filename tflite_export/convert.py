"""Keras to a float32 .tflite file."""

import re
import tempfile

import tensorflow as tf
from tensorflow.lite.python.convert_phase import ConverterError

from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.stage.errors import InputError
from tflite_export.offline_model import SIGNATURE, build_transcriber
from tflite_export.quiet import quiet_standard_error
from tflite_export.signature_names import STREAM
from tflite_export.streaming_model import build_streamer

# Where the converter says what it fell over: ["Erf:", "model/ctc/odd/Erf@...
_PLACE = re.compile(r'\["(?P<operation>\w+):", "(?P<place>[^"@]+)')


def convert(model: tf.keras.Model, config: ConformerConfig) -> bytes:
  """Returns the float32 .tflite file of a model, sound to labels.

  Args:
    model: what `build_ctc_model(config)` returned.
    config: its configuration; if it streams, so does the file.

  Raises:
    InputError: the model has an operation that TFLite lacks.
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
    try:
      return converter.convert()
    except ConverterError as error:
      raise InputError(_explain(str(error))) from error


def _explain(message: str) -> str:
  """Returns in one line what the converter says in many."""
  found = _PLACE.search(message)
  what = message.splitlines()[0] if message else "no reason given"
  if found:
    what = f"{found['operation']} at {found['place']}"
  return (
    f"found an operation that TFLite lacks ({what}), expected built-in ones"
    " alone: write that layer with others"
  )

"""What speech gives each signature of a float .tflite file.

Static ranges of activations are those that this sets off.
"""

from collections.abc import Sequence

import numpy as np

from lingvo_lite.stage.errors import InputError
from tflite_export.interpreter import (
  SIGNATURE,
  STEP_INPUTS,
  STEP_OUTPUTS,
  load_interpreter,
  signature_runner,
)
from tflite_export.signature_names import STREAM

Calibration = dict[str, list[dict[str, np.ndarray]]]
"""Signature -> the inputs of each call of it."""


def calibration_inputs(
  contents: bytes, speech: Sequence[np.ndarray]
) -> Calibration:
  """Returns the calls that recognising speech makes, whole and by chunks.

  Args:
    contents: a float .tflite file, as the converter wrote it. The states of a
      stream are what this file computes.
    speech: float32[S] each, 16 kHz.

  Raises:
    InputError: there is no speech.
  """
  if not speech:
    raise InputError(
      "found no speech to set the ranges of activations by, expected an"
      " utterance: give speech below server/, or leave out --static_activations"
    )
  loaded = load_interpreter(contents, num_threads=1)
  found = {SIGNATURE: [{"pcm": pcm[np.newaxis]} for pcm in speech]}
  if STREAM not in loaded.get_signature_list():
    return found
  step = signature_runner(loaded, STREAM, STEP_INPUTS, STEP_OUTPUTS)
  details = step.get_input_details()
  chunk_samples = int(details["pcm"]["shape"][1])
  found[STREAM] = []
  for pcm in speech:
    state = np.zeros(details["state"]["shape"], np.float32)
    for start in range(0, pcm.size, chunk_samples):
      piece = pcm[start : start + chunk_samples]
      chunk = np.zeros([1, chunk_samples], np.float32)
      chunk[0, : piece.size] = piece
      call = {
        "pcm": chunk,
        "samples": np.array([piece.size], np.int32),
        "state": state,
      }
      found[STREAM].append(call)
      state = step(**call)["state"]
  return found

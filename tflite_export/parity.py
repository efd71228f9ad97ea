"""Does a .tflite file compute what its Keras model computes?

Asked of every file that is made, on LiteRT with its default delegate, since
that is what phones run and it has been seen to compute nonsense in silence.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from lingvo_lite.audio.log_mel import LogMel
from lingvo_lite.decoding.greedy import greedy_decode
from lingvo_lite.stage.errors import InputError
from tflite_export.interpreter import Recognizer

# float32 files differ by the order of additions alone. Integer kernels round
# activations to 8 bits in each row, about 1%; nonsense was 200% and more.
_FLOAT_LIMIT = 1e-3
_INTEGER_LIMIT = 0.15


@dataclasses.dataclass(frozen=True)
class Parity:
  """How near a file is to its Keras model.

  Attributes:
    max_abs_logit_diff: largest difference of a logit.
    relative_error: root of the mean square of the differences, as a fraction
      of the standard deviation of the Keras logits.
    label_agreement: fraction of the frames with the same best label.
    utterances: how many were compared.
    streaming_relative_error: as `relative_error`, of the same sound given chunk
      by chunk; None: the model does not stream.
  """

  max_abs_logit_diff: float
  relative_error: float
  label_agreement: float
  utterances: int
  streaming_relative_error: float | None


def check_parity(
  path: str,
  model: tf.keras.Model,
  speech: Sequence[np.ndarray],
  integers: bool,
) -> Parity:
  """Compares a file with its Keras model on real speech.

  Args:
    path: the .tflite file.
    model: plain Keras with the same weights.
    speech: float32[S] each, 16 kHz.
    integers: whether the file has integer kernels.

  Returns:
    How near they are.

  Raises:
    InputError: they differ too much, or the labels that the file writes are
      not the greedy decoding of its own logits.
  """
  if not speech:
    raise InputError("found no speech to compare on, expected an utterance")
  recognizer = Recognizer(path)
  log_mel = LogMel()
  found, expected, streamed = [], [], []
  for pcm in speech:
    features = log_mel(pcm[np.newaxis])
    reference = model([features, tf.shape(features)[1:2]]).numpy()[0]
    result = recognizer.recognize(pcm)
    if result.logits.shape != reference.shape:
      raise InputError(
        f"found logits {list(result.logits.shape)} in the .tflite file,"
        f" expected {list(reference.shape)} as in Keras: this is a fault of the"
        " exporter, please report it"
      )
    blank_id = reference.shape[-1] - 1
    logits = result.logits[np.newaxis]
    decoded = greedy_decode(logits, [len(result.logits)], blank_id)[0]
    if decoded != result.labels.tolist():
      raise InputError(
        f"found the labels {result.labels.tolist()[:8]}... in the .tflite"
        f" file's output, expected {decoded[:8]}... from its logits: this is a"
        " fault of the exporter, please report it"
      )
    found.append(result.logits)
    if recognizer.chunk_samples is not None:
      stream = recognizer.stream()
      stream.accept(pcm)
      streamed.append(stream.finish().logits)
    expected.append(reference)
  parity = _compare(found, expected, streamed)
  limit = _INTEGER_LIMIT if integers else _FLOAT_LIMIT
  for error in (parity.relative_error, parity.streaming_relative_error or 0.0):
    # Not `>`: a NaN must not pass.
    if not error <= limit:
      raise InputError(
        f"found logits that differ from Keras by {error:.3g} of their spread on"
        f" LiteRT, expected at most {limit:g}: this file would recognise"
        " wrongly, so it was not written; choose another recipe"
      )
  return parity


def _compare(
  found: Sequence[np.ndarray],
  expected: Sequence[np.ndarray],
  streamed: Sequence[np.ndarray],
) -> Parity:
  whole, reference = np.concatenate(found), np.concatenate(expected)

  def relative_error(logits: np.ndarray) -> float:
    mean_square = np.mean((logits - reference) ** 2)
    return float(np.sqrt(mean_square) / max(reference.std(), 1e-9))

  return Parity(
    float(np.abs(whole - reference).max()),
    relative_error(whole),
    float(np.mean(whole.argmax(-1) == reference.argmax(-1))),
    len(found),
    relative_error(np.concatenate(streamed)) if streamed else None,
  )

"""Recognises speech with an exported .tflite file.

Needs neither TensorFlow nor the training code, only LiteRT and NumPy.
"""

import dataclasses
import json
from typing import Any

import numpy as np
from ai_edge_litert import interpreter as litert

from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import require_file
from tflite_export.flatbuffer import (
  DESCRIPTION,
  LABELS,
  check_seal,
  read_metadata,
)
from tflite_export.quiet import quiet_standard_error

SIGNATURE = "transcribe"
_INPUTS = ["pcm"]
_OUTPUTS = ["count", "labels", "logits"]


@dataclasses.dataclass(frozen=True, eq=False)
class Recognition:
  """What a model makes of one utterance.

  Attributes:
    text: the words.
    labels: int32[N], the ids of its characters.
    logits: float32[T', V].
  """

  text: str
  labels: np.ndarray
  logits: np.ndarray


class TfliteRecognizer:
  """A loaded .tflite file.

  Args:
    path: the file.
    num_threads: that it computes with.

  Raises:
    InputError: the file is missing, empty, damaged, or not of this project's
      exporter. That is found before native code sees the file.
  """

  def __init__(self, path: str, num_threads: int = 1):
    require_file(path, "a .tflite file written by this project's exporter")
    with open(path, "rb") as file:
      contents = file.read()
    try:
      check_seal(contents)
      self.labels = _read_labels(contents)
      self.description = _read_description(contents)
      self._interpreter = _load(contents, num_threads)
      self._runner = _runner(self._interpreter)
    except InputError as error:
      raise InputError(f"{path}: {error}") from None
    self.path = path

  def recognize(self, pcm: np.ndarray) -> Recognition:
    """Recognises one utterance.

    Args:
      pcm: float32[S], 16 kHz mono in [-1, 1], S >= 1.

    Returns:
      What was said.

    Raises:
      InputError: there is no sample, or one is not a number.
    """
    pcm = np.asarray(pcm, np.float32)
    if pcm.ndim != 1 or pcm.size == 0:
      raise InputError(
        f"found samples of shape {list(pcm.shape)}, expected one channel with"
        " at least one sample"
      )
    if not np.isfinite(pcm).all():
      raise InputError(
        "found samples that are not numbers (NaN or infinite), expected numbers"
        " in [-1, 1]: write the audio again"
      )
    outputs = self._runner(pcm=pcm[np.newaxis])
    labels = outputs["labels"][: int(outputs["count"])]
    text = "".join(self.labels[label] for label in labels)
    return Recognition(text, labels, outputs["logits"][0])


def _load(contents: bytes, num_threads: int) -> litert.Interpreter:
  try:
    with quiet_standard_error():
      loaded = litert.Interpreter(
        model_content=contents, num_threads=num_threads
      )
      loaded.allocate_tensors()  # Now: here it says what delegate it made.
      return loaded
  except (ValueError, RuntimeError) as error:
    raise InputError(
      f"found a .tflite file that LiteRT does not load ({error}), expected"
      " built-in operations of its release: export the model again"
    ) from error


def _runner(loaded: litert.Interpreter) -> litert.SignatureRunner:
  signature = loaded.get_signature_list().get(SIGNATURE)
  if signature is None or (
    sorted(signature["inputs"]) != _INPUTS
    or sorted(signature["outputs"]) != _OUTPUTS
  ):
    raise InputError(
      f"found the signatures {loaded.get_signature_list()}, expected"
      f" {SIGNATURE!r} from {_INPUTS} to {_OUTPUTS}: export the model again"
    )
  return loaded.get_signature_runner(SIGNATURE)


def _read_labels(contents: bytes) -> tuple[str, ...]:
  found = read_metadata(contents, LABELS)
  if not found:
    raise InputError(
      f"found no {LABELS!r} in the file's metadata, expected one label a line:"
      " export the model again"
    )
  return tuple(found.decode().split("\n"))


def _read_description(contents: bytes) -> dict[str, Any]:
  found = read_metadata(contents, DESCRIPTION)
  return json.loads(found) if found else {}

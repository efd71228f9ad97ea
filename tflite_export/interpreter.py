"""Recognises speech with an exported .tflite file.

Needs neither TensorFlow nor the training code, only LiteRT and NumPy.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import interpreter as litert

from lingvo_lite.decoding.prefix_beam import BeamConfig
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import require_file
from tflite_export.flatbuffer_seal import (
  DESCRIPTION,
  LABELS,
  check_seal,
  read_metadata,
)
from tflite_export.quiet import quiet_standard_error
from tflite_export.reading import Reading, Recognition
from tflite_export.signature_names import FLUSH, INIT_STATE, STREAM
from tflite_export.stream import Step, Stream, checked_pcm

SIGNATURE = "transcribe"
INPUTS = ["pcm"]
OUTPUTS = ["count", "labels", "logits"]
STEP_INPUTS = ["pcm", "samples", "state"]
STEP_OUTPUTS = ["count", "frames", "labels", "logits", "state"]


class Recognizer:
  """A loaded .tflite file.

  Args:
    path: the file.
    num_threads: that it computes with.
    beam: how to search for the likeliest text; None: the best label of each
      frame, which the graph itself reads.

  Attributes:
    labels: the characters of the labels' ids.
    description: what the exporter wrote into the file.
    chunk_samples: of a stream; None: the model does not stream.

  Raises:
    InputError: the file is missing, empty, damaged, or not of this project's
      exporter. That is found before native code sees the file.
  """

  def __init__(
    self, path: str, num_threads: int = 1, beam: BeamConfig | None = None
  ):
    require_file(path, "a .tflite file written by this project's exporter")
    with open(path, "rb") as file:
      contents = file.read()
    try:
      check_seal(contents)
      self.labels = read_labels(contents)
      self.description = read_description(contents)
      self._interpreter = load_interpreter(contents, num_threads)
      self._runner = signature_runner(
        self._interpreter, SIGNATURE, INPUTS, OUTPUTS
      )
      self._stepper, self.chunk_samples = _stepper(self._interpreter)
    except InputError as error:
      raise InputError(f"{path}: {error}") from None
    self._reading = Reading(self.labels, beam)
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
    pcm = checked_pcm(pcm)
    if pcm.size == 0:
      raise InputError(
        "found no sample, expected at least one: is the recording empty?"
      )
    outputs = self._runner(pcm=pcm[np.newaxis])
    labels = outputs["labels"][: int(outputs["count"])]
    return self._reading.of_whole(outputs["logits"][0], labels)

  def stream(self) -> Stream:
    """Begins an utterance that comes piece by piece.

    Several may go on at once, but not in several threads.

    Raises:
      InputError: the model does not stream.
    """
    if self._stepper is None or self.chunk_samples is None:
      raise InputError(
        f"{self.path}: found a model for whole utterances, expected one that"
        " streams: train one with --preset=tiny_streaming and export it"
      )
    return Stream(self._stepper, self.chunk_samples, self._reading.begin())


def load_interpreter(contents: bytes, num_threads: int) -> litert.Interpreter:
  """Loads a .tflite file that was checked, with LiteRT's default delegate.

  Raises:
    InputError: LiteRT does not load it.
  """
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


def signature_runner(
  loaded: litert.Interpreter,
  name: str,
  inputs: Sequence[str],
  outputs: Sequence[str],
) -> litert.SignatureRunner:
  """Returns how to call a signature.

  Args:
    loaded: what `load_interpreter` returned.
    name: of the signature.
    inputs: names of its inputs, sorted.
    outputs: names of its outputs, sorted.

  Raises:
    InputError: it is not there, or has others.
  """
  signature = loaded.get_signature_list().get(name)
  if signature is None or (
    sorted(signature["inputs"]) != inputs
    or sorted(signature["outputs"]) != outputs
  ):
    raise InputError(
      f"found the signatures {loaded.get_signature_list()}, expected {name!r}"
      f" from {inputs} to {outputs}: export the model again"
    )
  return loaded.get_signature_runner(name)


def _stepper(loaded: litert.Interpreter) -> tuple[Step | None, int | None]:
  """Returns how to take one step of a stream, and a chunk's samples."""
  if STREAM not in loaded.get_signature_list():
    return None, None
  stream = signature_runner(loaded, STREAM, STEP_INPUTS, STEP_OUTPUTS)
  flush = signature_runner(loaded, FLUSH, STEP_INPUTS, STEP_OUTPUTS)
  begin = signature_runner(loaded, INIT_STATE, [], ["state"])
  samples = int(stream.get_input_details()["pcm"]["shape"][1])

  def step(
    pcm: np.ndarray, state: np.ndarray | None
  ) -> tuple[np.ndarray, np.ndarray]:
    if state is None:
      state = begin()["state"]
    chunk = np.zeros([1, samples], np.float32)
    chunk[0, : pcm.size] = pcm
    run = stream if pcm.size == samples else flush
    outputs = run(
      pcm=chunk, samples=np.array([pcm.size], np.int32), state=state
    )
    frames = -(-pcm.size * outputs["logits"].shape[1] // samples)
    return outputs["logits"][0, :frames], outputs["state"]

  return step, samples


def read_labels(contents: bytes) -> tuple[str, ...]:
  """Returns the characters of a checked file; InputError: it has none."""
  found = read_metadata(contents, LABELS)
  if not found:
    raise InputError(
      f"found no {LABELS!r} in the file's metadata, expected one label a line:"
      " export the model again"
    )
  return tuple(found.decode().split("\n"))


def read_description(contents: bytes) -> dict[str, Any]:
  """Returns what the exporter wrote into a checked file."""
  found = read_metadata(contents, DESCRIPTION)
  return json.loads(found) if found else {}

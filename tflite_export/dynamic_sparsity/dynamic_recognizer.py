"""Recognises speech with a file of several sparsities, switched at run time.

Needs neither TensorFlow nor the training code, only LiteRT and NumPy.
"""

import mmap

import numpy as np
from ai_edge_litert import interpreter as litert

from lingvo_lite.decoding.prefix_beam import BeamConfig
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import require_file
from tflite_export.dynamic_sparsity.level_extract import extract_level
from tflite_export.dynamic_sparsity.level_signature import level_signature
from tflite_export.flatbuffer_seal import check_seal
from tflite_export.interpreter import (
  INPUTS,
  OUTPUTS,
  load_interpreter,
  read_description,
  read_labels,
  signature_runner,
)
from tflite_export.reading import Reading, Recognition
from tflite_export.stream import checked_pcm


class DynamicRecognizer:
  """A loaded .tflite file of several levels; begins at the densest.

  The file is mapped once. A level is prepared when it is first used; from then
  on, a switch to it is the choice of another prepared graph. `budget.py`
  chooses by what levels cost.

  Args:
    path: the file.
    num_threads: that it computes with.
    beam: as of `Recognizer`.

  Attributes:
    labels: the characters of the labels' ids.
    description: what the exporter wrote into the file.
    sparsities: the levels, densest first.
    sparsity: the level in use.

  Raises:
    InputError: the file is missing, empty, damaged, or has no levels.
  """

  def __init__(
    self, path: str, num_threads: int = 1, beam: BeamConfig | None = None
  ):
    require_file(path, "a .tflite file of several sparsities")
    with open(path, "rb") as file:
      contents = file.read()
      # Levels that are never used need no memory.
      self._contents = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
      check_seal(contents)
      self.labels = read_labels(contents)
      self.description = read_description(contents)
    except InputError as error:
      raise InputError(f"{path}: {error}") from None
    self.sparsities = tuple(self.description.get("sparsities", ()))
    if not self.sparsities:
      raise InputError(
        f"{path}: found a file without levels, expected one of several"
        " sparsities: export it with //tflite_export:export_dynamic_sparsity"
      )
    self.path = path
    self._num_threads = num_threads
    self._reading = Reading(self.labels, beam)
    # A runner does not keep its interpreter alive.
    self._prepared: dict[
      float, tuple[litert.Interpreter, litert.SignatureRunner]
    ] = {}
    # Not prepared yet: another level may be wanted.
    self.sparsity = self.sparsities[0]

  def use(self, sparsity: float) -> None:
    """Switches to a level, for the utterances to come.

    Raises:
      InputError: the file has no such level.
    """
    if sparsity not in self._prepared:
      self._prepared[sparsity] = self._prepare(sparsity)
    self.sparsity = sparsity

  def recognize(self, pcm: np.ndarray) -> Recognition:
    """Recognises one utterance at the level in use.

    Args:
      pcm: float32[S], 16 kHz mono in [-1, 1], S >= 1.

    Raises:
      InputError: there is no sample, or one is not a number.
    """
    pcm = checked_pcm(pcm)
    if pcm.size == 0:
      raise InputError(
        "found no sample, expected at least one: is the recording empty?"
      )
    self.use(self.sparsity)
    outputs = self._prepared[self.sparsity][1](pcm=pcm[np.newaxis])
    labels = outputs["labels"][: int(outputs["count"])]
    return self._reading.of_whole(outputs["logits"][0], labels)

  def _prepare(
    self, sparsity: float
  ) -> tuple[litert.Interpreter, litert.SignatureRunner]:
    if sparsity not in self.sparsities:
      raise InputError(
        f"{self.path}: found no level {sparsity}, expected one of"
        f" {list(self.sparsities)}: these are the ones in the file"
      )
    name = level_signature(sparsity)
    level = extract_level(self._contents, name)
    # What was read is copied; the file need not stay in memory.
    self._contents.madvise(mmap.MADV_DONTNEED)
    loaded = load_interpreter(level, self._num_threads)
    return loaded, signature_runner(loaded, name, INPUTS, OUTPUTS)

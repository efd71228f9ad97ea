"""The file of all levels, loaded whole: one interpreter, a signature a level.

So an app in Kotlin loads it, which cannot take one level out as
`DynamicRecognizer` does. LiteRT then prepares all graphs, on shared constants.
Needs no TensorFlow.
"""

from collections.abc import Sequence

import numpy as np

from lingvo_lite.stage.errors import InputError
from tflite_export.dynamic_sparsity.level_signature import level_signature
from tflite_export.interpreter import (
  INPUTS,
  OUTPUTS,
  Recognizer,
  load_interpreter,
  signature_runner,
)


class AllLevels:
  """A loaded file of several levels.

  Args:
    contents: the file.
    sparsities: its levels.

  Raises:
    InputError: LiteRT does not load it, or a level is not there.
  """

  def __init__(self, contents: bytes, sparsities: Sequence[float]):
    # A runner does not keep its interpreter alive.
    self._interpreter = load_interpreter(contents, 1)
    self._runners = {
      sparsity: signature_runner(
        self._interpreter, level_signature(sparsity), INPUTS, OUTPUTS
      )
      for sparsity in sparsities
    }

  def run(self, sparsity: float, pcm: np.ndarray) -> dict[str, np.ndarray]:
    """Runs the signature of a level.

    Args:
      sparsity: the level.
      pcm: float32[S], 16 kHz mono in [-1, 1], S >= 1.

    Returns:
      `count`, `labels` and `logits`, as the file writes them.
    """
    return self._runners[sparsity](pcm=pcm[np.newaxis])


def check_all_levels(
  path: str,
  sparsities: Sequence[float],
  level_paths: Sequence[str],
  speech: Sequence[np.ndarray],
) -> None:
  """Checks that the file loaded whole computes what each level's file does.

  Those were compared with Keras. Levels are run in turns, so that what one
  graph leaves behind would show in the next.

  Args:
    path: the file of all levels.
    sparsities: its levels, densest first.
    level_paths: the file of each level.
    speech: float32[S] each, 16 kHz.

  Raises:
    InputError: it does not.
  """
  with open(path, "rb") as file:
    levels = AllLevels(file.read(), sparsities)
  expected = {}
  for sparsity, level_path in zip(sparsities, level_paths, strict=True):
    alone = Recognizer(level_path)
    expected[sparsity] = [alone.recognize(pcm) for pcm in speech]
  # The densest, the sparsest, the densest again, and up from there.
  turns = (sparsities[0], sparsities[-1], *sparsities)
  for index, pcm in enumerate(speech):
    for sparsity in turns:
      outputs = levels.run(sparsity, pcm)
      wanted = expected[sparsity][index]
      labels = outputs["labels"][: int(outputs["count"])]
      if not (
        np.array_equal(outputs["logits"][0], wanted.logits)
        and np.array_equal(labels, wanted.labels)
      ):
        raise InputError(
          f"found that the signature {level_signature(sparsity)} of the file of"
          " all levels, loaded whole, computes other logits or labels than the"
          " level's own file, expected the same: this is a fault of the"
          " exporter, please report it"
        )

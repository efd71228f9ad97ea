"""A run's progress on disk, one whole file even if the newest is torn."""

import dataclasses
import glob
import hashlib
import io
import json
import os
import zipfile
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from lingvo_lite.stage.files import PARTIAL, whole_file

Row = dict[str, Any]
_KEPT = 2
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclasses.dataclass(frozen=True)
class Progress:
  """Where a run stands between two rounds.

  Attributes:
    state: of the federated process, in NumPy.
    rows: what each round so far reports.
    participations: int64[clients], how often each took part; where its stream
      of batches stands.
  """

  state: Any
  rows: list[Row]
  participations: np.ndarray


class Checkpoints:
  """The newest few states of a run, each a file with its own checksum.

  Args:
    folder: where they are kept, below the run's --workdir.
    fingerprint: tells runs apart: the files of another run are not seen.
  """

  def __init__(self, folder: str, fingerprint: str) -> None:
    # By run, so that another run's files in the same folder are left alone.
    self._name = hashlib.sha256(fingerprint.encode()).hexdigest()[:12]
    self._folder = folder

  def save(self, progress: Progress) -> None:
    """Writes a file for the rounds done so far, and drops the oldest ones."""
    leaves = tf.nest.flatten(progress.state)
    content = io.BytesIO()
    np.savez(
      content,
      rows=json.dumps(progress.rows),
      participations=progress.participations,
      **{f"state_{i}": _plain(leaf) for i, leaf in enumerate(leaves)},
    )
    data = content.getvalue()
    name = f"{self._name}_{len(progress.rows):06d}.npz"
    with whole_file(os.path.join(self._folder, name)) as temporary:
      with open(temporary, "wb") as file:
        file.write(hashlib.sha256(data).digest() + data)
    for path in self._paths()[_KEPT:]:
      os.unlink(path)

  def load(self, like: Any) -> Progress | None:
    """Reads the newest whole file of this run, or returns None.

    A file that is torn or damaged is named in a warning, and the one before it
    is tried. What a kill in the middle of writing left behind is removed.

    Args:
      like: a state of the same structure.
    """
    folder = glob.escape(self._folder)
    for path in glob.glob(os.path.join(folder, f"{PARTIAL}*.npz")):
      os.unlink(path)
    for path in self._paths():
      try:
        with open(path, "rb") as file:
          digest, data = file.read(_DIGEST_BYTES), file.read()
        if hashlib.sha256(data).digest() != digest:
          raise ValueError("its checksum is another")
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
          leaves = [
            archive[f"state_{i}"] for i in range(len(tf.nest.flatten(like)))
          ]
          progress = Progress(
            tf.nest.pack_sequence_as(like, leaves),
            json.loads(str(archive["rows"])),
            archive["participations"],
          )
      except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        logging.warning(
          "%s is damaged (%s); falling back to the one before", path, error
        )
        continue
      logging.info("going on after round %d", len(progress.rows))
      return progress
    return None

  def remove(self) -> None:
    """Removes all of them: the run is over and its artifact is written."""
    for path in self._paths():
      os.unlink(path)

  def _paths(self) -> list[str]:
    """The files there are, the newest first."""
    return sorted(
      glob.glob(os.path.join(glob.escape(self._folder), f"{self._name}_*.npz")),
      reverse=True,
    )


def _plain(leaf: Any) -> np.ndarray:
  """An array that needs no pickling; TFF's strings come as objects."""
  array = np.asarray(leaf)
  return np.array(array.tolist()) if array.dtype == object else array

"""Models on disk: Keras's own format, with its configuration inside.

The same model always gives the same bytes, and a file is read without running
anything that is stored in it: the graph is built from the configuration, and
only the weights are taken from the file.
"""

import json
import os
import tempfile
import zipfile

import tensorflow as tf

from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import require_file, whole_file

_CONFIG = "conformer_config.json"
_WEIGHTS = "model.weights.h5"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def save_model(
  model: tf.keras.Model, config: ConformerConfig, path: str
) -> None:
  """Writes a model so that equal models give equal files.

  Args:
    model: what `build_ctc_model(config)` returned, trained or not.
    config: its configuration.
    path: a path ending in `.keras`; `tf.keras.models.load_model` reads it too.
  """
  members: dict[str, bytes] = {}
  with tempfile.TemporaryDirectory() as folder:
    keras_path = os.path.join(folder, "model.keras")
    model.save(keras_path, save_format="keras")
    with zipfile.ZipFile(keras_path) as archive:
      for name in archive.namelist():
        members[name] = archive.read(name)
  metadata = json.loads(members["metadata.json"])
  metadata.pop("date_saved", None)
  members["metadata.json"] = json.dumps(metadata, sort_keys=True).encode()
  members[_CONFIG] = json.dumps(config.to_dict(), sort_keys=True).encode()
  with whole_file(path) as temporary:
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
      for name in sorted(members):
        archive.writestr(zipfile.ZipInfo(name, _EPOCH), members[name])


def load_model(path: str) -> tuple[tf.keras.Model, ConformerConfig]:
  """Reads what `save_model` wrote.

  Args:
    path: the `.keras` file.

  Returns:
    The model and its configuration.

  Raises:
    InputError: the file is missing, damaged, or no model of this project.
  """
  require_file(path, "a model written by this project (.keras)")
  try:
    with zipfile.ZipFile(path) as archive:
      damaged = archive.testzip()
      if damaged is not None:
        raise zipfile.BadZipFile(f"bad checksum of {damaged}")
      config = ConformerConfig.from_dict(json.loads(archive.read(_CONFIG)))
      model = build_ctc_model(config)
      with tempfile.TemporaryDirectory() as folder:
        model.load_weights(archive.extract(_WEIGHTS, folder))
  except InputError:
    raise
  except (zipfile.BadZipFile, KeyError, OSError, ValueError) as error:
    raise InputError(
      f"found {path} damaged or of another origin ({error}), expected a model"
      " written by this project: make it again with the stage that writes it"
    ) from error
  return model, config


def load_config(path: str) -> ConformerConfig:
  """Reads the configuration alone; raises as `load_model` does."""
  require_file(path, "a model written by this project (.keras)")
  try:
    with zipfile.ZipFile(path) as archive:
      return ConformerConfig.from_dict(json.loads(archive.read(_CONFIG)))
  except (zipfile.BadZipFile, KeyError, OSError, ValueError) as error:
    raise InputError(
      f"found {path} damaged or of another origin ({error}), expected a model"
      " written by this project: make it again with the stage that writes it"
    ) from error

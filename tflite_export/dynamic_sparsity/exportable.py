"""Says of a ladder whether it can be exported, before it is trained."""

from collections.abc import Sequence

import tensorflow as tf

from lingvo_lite.dynamic_sparsity.levels import SparsityLevels
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.stage.errors import InputError
from lingvo_lite.text.vocabulary import CharacterVocabulary
from tflite_export.dynamic_sparsity.block_sparse import (
  check_block,
  check_width,
)


def check_exportable(
  model: tf.keras.Model,
  config: ConformerConfig,
  levels: SparsityLevels,
  sparse: Sequence[str],
) -> None:
  """Raises InputError if the exporter would refuse the trained ladder.

  Args:
    model: plain Keras, trained or not.
    config: its configuration.
    levels: the ladder.
    sparse: names of the layers that become sparse.
  """
  labels = CharacterVocabulary().size
  if config.vocabulary_size != labels:
    raise InputError(
      f"found a model of {config.vocabulary_size} labels, expected {labels}: it"
      " was trained with another vocabulary"
    )
  if config.streams:
    raise InputError(
      "found a model that streams, expected one for whole utterances: levels"
      " of a streaming model cannot be exported; begin with one of"
      " --preset=tiny"
    )
  check_block(levels.block)
  for name in sparse:
    check_width(model.get_layer(name).kernel.shape[0], name)

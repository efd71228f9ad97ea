"""The loss of speech recognition on a batch."""

from collections.abc import Mapping

import tensorflow as tf

from lingvo_lite.losses.ctc import ctc_loss
from lingvo_lite.models.ctc_model import subsampled_lengths


def ctc_objective(
  model: tf.keras.Model, batch: Mapping[str, tf.Tensor]
) -> tf.Tensor:
  """Returns the mean over the batch of the CTC loss a label.

  A mean a label, not an utterance: long sentences would otherwise outweigh
  short commands.

  Args:
    model: `[features, lengths]` to logits, called as in training.
    batch: as `bucketed_batches` makes them.
  """
  logits = model([batch["features"], batch["lengths"]], training=True)
  return ctc_of_logits(logits, batch)


def ctc_of_logits(
  logits: tf.Tensor, batch: Mapping[str, tf.Tensor]
) -> tf.Tensor:
  """Returns the same of logits that are there already.

  Args:
    logits: float32[B, T', V], what the model made of the batch.
    batch: as `bucketed_batches` makes them.
  """
  losses = ctc_loss(
    batch["labels"],
    batch["label_lengths"],
    logits,
    subsampled_lengths(batch["lengths"]),
  )
  return tf.reduce_sum(losses) / tf.cast(
    tf.reduce_sum(batch["label_lengths"]), losses.dtype
  )

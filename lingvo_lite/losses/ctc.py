"""Connectionist temporal classification."""

import tensorflow as tf


def ctc_loss(
  labels: tf.Tensor,
  label_lengths: tf.Tensor,
  logits: tf.Tensor,
  logit_lengths: tf.Tensor,
) -> tf.Tensor:
  """Negative log-likelihood of each utterance's labels.

  The blank is the last label. Labels go in sparse: that is TensorFlow's
  dynamic-programming kernel, several times faster on a CPU than the dense form.

  Args:
    labels: int32[B, U], padded with anything; at least one label each.
    label_lengths: int32[B].
    logits: float32[B, T, V].
    logit_lengths: int32[B], frames of `logits` that are speech.

  Returns:
    float32[B], in nats.

  Reference: Graves et al. 2006, "Connectionist Temporal Classification", eq. 8.
  """
  keep = tf.sequence_mask(label_lengths, tf.shape(labels)[1])
  positions = tf.where(keep)
  sparse = tf.SparseTensor(
    positions,
    tf.cast(tf.gather_nd(labels, positions), tf.int32),
    tf.shape(labels, out_type=tf.int64),
  )
  return tf.nn.ctc_loss(
    sparse,
    logits,
    label_length=None,
    logit_length=logit_lengths,
    logits_time_major=False,
    blank_index=logits.shape[-1] - 1,
  )

"""What the server takes from a client, and what it turns down."""

import tensorflow as tf

from fl.processes.messages import Rejections


def admit(
  update: tf.Tensor, params: int, max_norm: float
) -> tuple[tf.Tensor, tf.Tensor, Rejections]:
  """Looks at an update before anything is done with it; inside a graph.

  An update that is turned down becomes zeros, and counts for nothing: neither
  its values nor its examples enter a mean.

  Args:
    update: float32[q].
    params: p, how many values it should have.
    max_norm: the largest L2 norm allowed.

  Returns:
    The update, float32[p]; whether it was accepted, bool[]; and if not, why.
  """
  misshapen = tf.not_equal(tf.size(update), params)
  # Its first values, or zeros where there are too few: what follows is of
  # static shape.
  flat = update[:params]
  flat = tf.pad(flat, [[0, params - tf.size(flat)]])
  flat = tf.ensure_shape(flat, [params])
  not_finite = ~misshapen & ~tf.reduce_all(tf.math.is_finite(flat))
  oversized = ~misshapen & ~not_finite & (tf.norm(flat) > max_norm)
  accepted = ~(misshapen | not_finite | oversized)
  return (
    tf.where(accepted, flat, tf.zeros_like(flat)),
    accepted,
    Rejections(
      tf.cast(misshapen, tf.int32),
      tf.cast(not_finite, tf.int32),
      tf.cast(oversized, tf.int32),
    ),
  )

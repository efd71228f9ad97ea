"""Tests of relative attention against its formula, one pair at a time."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from lingvo_lite.layers.relative_attention import (
  RelativeAttention,
  RelativePositions,
)

_FRAMES, _HEADS, _HEAD_WIDTH = 5, 2, 3


def _inputs(batch=2):
  rng = np.random.default_rng(0)
  width = _HEADS * _HEAD_WIDTH

  def draw(*shape):
    return rng.normal(size=shape).astype(np.float32)

  query, key, value = (draw(batch, _FRAMES, width) for _ in range(3))
  positions = draw(1, 2 * _FRAMES - 1, width)
  return query, key, value, positions


def _by_formula(layer, query, key, value, positions, length, allowed):
  """score(i, j) = ((q_i + u) . k_j + (q_i + v) . p_{i-j}) / sqrt(H)."""
  u, v = layer.content_bias.numpy(), layer.position_bias.numpy()
  context = np.zeros_like(query)
  for n in range(_HEADS):
    head = slice(n * _HEAD_WIDTH, (n + 1) * _HEAD_WIDTH)
    q, k, x = query[:, head], key[:, head], value[:, head]
    # Position row r holds the distance T - 1 - r.
    p = positions[:, head]
    for i in range(_FRAMES):
      seen = [j for j in range(length) if allowed(i, j)]
      if not seen:
        continue  # A padding frame far behind the end.
      scores = np.array(
        [
          ((q[i] + u[n]) @ k[j] + (q[i] + v[n]) @ p[_FRAMES - 1 - (i - j)])
          / np.sqrt(_HEAD_WIDTH)
          for j in seen
        ]
      )
      shares = np.exp(scores - scores.max())
      context[i, head] = (shares / shares.sum()) @ x[seen]
  return context


class RelativeAttentionTest(parameterized.TestCase):
  @parameterized.parameters(
    (False, None, 1),
    (True, None, 1),
    (True, 2, 1),
    (False, 1, 1),
    (True, 1, 2),
    (True, None, 3),
    (True, 1, None),
  )
  def test_equals_the_formula(self, causal, left_context_frames, chunk_frames):
    layer = RelativeAttention(_HEADS, causal, left_context_frames, chunk_frames)
    query, key, value, positions = _inputs()
    lengths = np.array([5, 3], np.int32)
    args = [query, key, value, positions, lengths]
    layer(args)
    rng = np.random.default_rng(1)
    for bias in (layer.content_bias, layer.position_bias):
      bias.assign(rng.normal(size=bias.shape))
    context = layer(args).numpy()

    def allowed(row, column):
      distance = row - column
      size = chunk_frames or _FRAMES
      if causal and column // size > row // size:
        return False
      return left_context_frames is None or distance <= left_context_frames

    for b, length in enumerate(lengths):
      expected = _by_formula(
        layer, query[b], key[b], value[b], positions[0], length, allowed
      )
      # A padding frame's own context means nothing: it is masked later.
      np.testing.assert_allclose(
        context[b, :length], expected[:length], atol=1e-5
      )

  def test_positions_are_sinusoids_of_the_distance(self):
    rows = RelativePositions(width=4)(tf.zeros([1, 3, 4])).numpy()[0]
    self.assertEqual(rows.shape, (5, 4))
    for row, distance in zip(rows, [2, 1, 0, -1, -2], strict=True):
      angles = np.array([distance, distance / 100])
      np.testing.assert_allclose(
        row, np.concatenate([np.sin(angles), np.cos(angles)]), atol=1e-6
      )

  def test_configuration_survives(self):
    layer = RelativeAttention(_HEADS, True, 7, 4, name="scores")
    again = RelativeAttention.from_config(layer.get_config())
    self.assertEqual(again.get_config(), layer.get_config())


if __name__ == "__main__":
  absltest.main()

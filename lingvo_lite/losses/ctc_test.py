"""Tests of the CTC loss against paths counted by hand."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from lingvo_lite.losses.ctc import ctc_loss


class CtcLossTest(absltest.TestCase):
  def test_uniform_logits_count_the_paths(self):
    # Two labels and a blank, 3 frames. "a": a--, -a-, --a, aa-, -aa, aaa are 6
    # of 27 paths. "aa" needs a blank between: a-a, 1 path. "ab": aab, abb, -ab,
    # a-b, ab-: 5 paths.
    labels = tf.constant([[0, 9], [0, 0], [0, 1]])
    losses = ctc_loss(
      labels, tf.constant([1, 2, 2]), tf.zeros([3, 3, 3]), tf.fill([3], 3)
    )
    paths = np.array([6, 1, 5])
    np.testing.assert_allclose(losses, -np.log(paths / 27), rtol=1e-5)

  def test_frames_past_the_length_do_not_count(self):
    logits = np.random.default_rng(0).normal(size=[1, 5, 4]).astype(np.float32)
    other = logits.copy()
    other[:, 3:] = 7.0
    labels, label_lengths = tf.constant([[2, 1]]), tf.constant([2])
    lengths = tf.constant([3])
    self.assertEqual(
      float(ctc_loss(labels, label_lengths, logits, lengths)[0]),
      float(ctc_loss(labels, label_lengths, other, lengths)[0]),
    )

  def test_the_blank_is_the_last_label(self):
    sure = 20.0 * np.eye(3, dtype=np.float32)
    label, blank = sure[0], sure[2]
    logits = np.stack([[blank, label, blank], [sure[1], label, sure[1]]])
    loss = ctc_loss(
      tf.constant([[0], [0]]), tf.constant([1, 1]), logits, tf.fill([2], 3)
    )
    self.assertLess(float(loss[0]), 1e-4)
    self.assertGreater(float(loss[1]), 10)


if __name__ == "__main__":
  absltest.main()

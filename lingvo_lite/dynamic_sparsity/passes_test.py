"""The gradients of several passes, against those of each alone."""

import numpy as np
import tensorflow as tf

from lingvo_lite.dynamic_sparsity.passes import gradients_of_passes
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.training.ctc_objective import ctc_objective, ctc_of_logits
from lingvo_lite.training.softened_divergence import softened_divergence

_CONFIG = ConformerConfig(
  num_blocks=1,
  d_model=32,
  ffn_units=64,
  num_heads=2,
  conv_kernel_size=3,
  subsampling_channels=4,
  norm_groups=2,
  dropout_rate=0.0,
)
_LAYERS = ("block_00/ffn_start/expand", "block_00/conv/contract")


class PassesTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    tf.keras.utils.set_random_seed(0)
    self.model = build_ctc_model(_CONFIG)
    self.kernels = [self.model.get_layer(name).kernel for name in _LAYERS]
    draw = np.random.default_rng(0)
    self.batch = {
      "features": tf.constant(draw.normal(size=[2, 48, 80]), tf.float32),
      "lengths": tf.constant([48, 40]),
      "labels": tf.constant(draw.integers(0, 28, [2, 4]), tf.int32),
      "label_lengths": tf.constant([4, 3]),
    }
    self.whole = [tf.ones_like(kernel) for kernel in self.kernels]

  def test_a_pass_that_keeps_all_agrees_with_itself(self):
    one, of_one = gradients_of_passes(
      self.model, self.kernels, [self.whole], self.batch
    )
    two, of_two = gradients_of_passes(
      self.model, self.kernels, [self.whole] * 2, self.batch
    )
    with tf.GradientTape() as tape:
      expected = ctc_objective(self.model, self.batch)
    self.assertAllClose(one, expected)
    # Each learns the transcripts, and there is nothing to imitate.
    self.assertAllClose(two, 2 * one)
    found = tape.gradient(expected, self.model.trainable_variables)
    for single, double, plain in zip(of_one, of_two, found, strict=True):
      self.assertAllClose(single, plain, rtol=1e-4, atol=1e-5)
      self.assertAllClose(double, 2 * plain, rtol=1e-4, atol=1e-5)

  def test_a_sparse_pass_learns_the_transcripts_and_the_dense_answer(self):
    sparse = [
      tf.cast(mask > 0.3, tf.float32) for mask in map(_noise, self.whole)
    ]
    before = [kernel.numpy() for kernel in self.kernels]
    loss, gradients = gradients_of_passes(
      self.model, self.kernels, [self.whole, sparse], self.batch
    )
    for kernel, value in zip(self.kernels, before, strict=True):
      self.assertAllEqual(kernel, value)
    inputs = [self.batch["features"], self.batch["lengths"]]
    variables = self.model.trainable_variables
    with tf.GradientTape() as tape:
      target = self.model(inputs, training=True)
      dense = ctc_of_logits(target, self.batch)
    expected = tape.gradient(dense, variables)
    for kernel, value, mask in zip(self.kernels, before, sparse, strict=True):
      kernel.assign(value * mask)
    with tf.GradientTape() as tape:
      logits = self.model(inputs, training=True)
      imitation = softened_divergence(target, logits, self.batch["lengths"])
      thin = ctc_of_logits(logits, self.batch) + imitation
    self.assertGreater(imitation, 0)
    self.assertAllClose(loss, dense + thin)
    masks = {id(k): mask for k, mask in zip(self.kernels, sparse, strict=True)}
    for variable, found, first, second in zip(
      variables,
      gradients,
      expected,
      tape.gradient(thin, variables),
      strict=True,
    ):
      mask = masks.get(id(variable), 1.0)
      self.assertAllClose(found, first + second * mask, rtol=1e-4, atol=1e-5)


def _noise(like):
  return tf.random.stateless_uniform(like.shape, [1, 2])


if __name__ == "__main__":
  tf.test.main()

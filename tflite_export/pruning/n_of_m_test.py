"""N:M pruning."""

import numpy as np
import tensorflow as tf

from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.stage.errors import InputError
from tflite_export.pruning.n_of_m import (
  check_kept_of,
  prunable_layers,
  prune,
)

_CONFIG = ConformerConfig(
  num_blocks=1,
  d_model=8,
  ffn_units=16,
  num_heads=2,
  conv_kernel_size=3,
  subsampling_channels=2,
  norm_groups=2,
)


class NOfMTest(tf.test.TestCase):
  def test_the_largest_of_each_run_along_the_inputs_stay(self):
    model = build_ctc_model(_CONFIG)
    kernel = np.zeros([8, 29], np.float32)
    kernel[:, 0] = [0.1, -0.9, 0.5, 0.2, 3, -4, 5, 6]
    model.get_layer("ctc/logits").kernel.assign(kernel)
    two = prune(model, (2, 4)).get_layer("ctc/logits").kernel.numpy()
    self.assertAllClose(two[:, 0], [0, -0.9, 0.5, 0, 0, 0, 5, 6])
    one = prune(model, (1, 4)).get_layer("ctc/logits").kernel.numpy()
    self.assertAllClose(one[:, 0], [0, -0.9, 0, 0, 0, 0, 0, 6])

  def test_every_matrix_is_pruned_and_nothing_else(self):
    model = build_ctc_model(_CONFIG)
    before = {w.name: w.numpy() for w in model.weights}
    pruned = prune(model, (2, 4))
    names = prunable_layers(model, (2, 4))
    self.assertLen(names, 13)
    for weight in pruned.weights:
      layer = weight.name.rpartition("/")[0]
      old = before[weight.name]
      if layer in names and weight.name.endswith("kernel:0"):
        self.assertEqual((weight.numpy() != 0).mean(), 0.5, weight.name)
        kept = weight.numpy() != 0
        self.assertAllEqual(weight.numpy()[kept], old[kept])
      else:
        self.assertAllEqual(weight, old)
    for weight in model.weights:  # The model itself stays as it was.
      self.assertAllEqual(weight, before[weight.name])

  def test_a_width_that_does_not_divide_is_named(self):
    model = build_ctc_model(_CONFIG)
    message = "width 40 of subsampling/project, expected a multiple of 16"
    with self.assertRaisesRegex(InputError, message):
      prunable_layers(model, (2, 16))
    with self.assertRaisesRegex(InputError, "to keep 2 of 7"):
      prune(model, (2, 7))

  def test_the_property_is_checked(self):
    kernel = np.array([[1], [0], [2], [0], [0], [0], [0], [3]])
    check_kept_of(kernel, (2, 4), "k")
    with self.assertRaisesRegex(InputError, "found 2 weights .* of k, .* 1"):
      check_kept_of(kernel, (1, 4), "k")


if __name__ == "__main__":
  tf.test.main()

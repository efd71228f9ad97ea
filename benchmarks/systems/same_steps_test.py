"""The systems that are compared do the same steps."""

import collections

import numpy as np
import tensorflow as tf

from benchmarks.systems.plain import PlainClient, data_set
from benchmarks.systems.tff_rounds import ours
from benchmarks.systems.workload import Workload
from fl.dropout.sub_model import flatten
from fl.runtime.local import local_runtime
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model

# Without dropout: each system draws its own.
_CONFIG = ConformerConfig(
  num_blocks=1,
  d_model=8,
  ffn_units=16,
  num_heads=2,
  conv_kernel_size=3,
  subsampling_channels=4,
  norm_groups=2,
  dropout_rate=0.0,
)
_WORKLOAD = Workload("tiny", clients=2, steps=3, batch_size=2, frames=32)


class SameStepsTest(tf.test.TestCase):
  def test_a_round_moves_the_weights_as_far_in_each(self):
    model = build_ctc_model(_CONFIG)
    initial = [variable.numpy() for variable in model.trainable_variables]
    with local_runtime():
      found = ours(model, _CONFIG, 2)(
        [
          tf.data.Dataset.from_tensor_slices(
            collections.OrderedDict(_WORKLOAD.batches(client))
          )
          for client in range(2)
        ]
      )
    moved = found - flatten(initial).numpy()
    self.assertGreater(np.abs(moved).max(), 1e-3)
    for loop in ("graph", "python"):
      with self.subTest(loop):
        trainer = PlainClient(_CONFIG, loop)
        trained = [
          flatten(trainer.train(initial, data_set(_WORKLOAD, client))).numpy()
          for client in range(2)
        ]
        self.assertAllClose(
          np.mean(trained, axis=0) - flatten(initial).numpy(), moved, atol=2e-5
        )


if __name__ == "__main__":
  tf.test.main()

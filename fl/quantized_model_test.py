"""Clients train a compressed model at the weights that will ship."""

import collections
import dataclasses
import functools
import os

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
from absl.testing import absltest

from fl.dropout.plan import plan_of
from fl.dropout.selection import RandomUnits
from fl.dropout.sub_model import SubModel, flatten, unflatten, variable_specs
from fl.dropout.tiers import one_tier
from fl.evaluation import set_weights
from fl.federated_config import FederatedConfig
from fl.processes.client_work import LocalTraining
from fl.processes.compose import build_federated_process
from fl.quantized_model import QuantizedModel
from fl.runtime.local import local_runtime
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.model_file import load_model
from lingvo_lite.models.unit_groups import unit_groups
from lingvo_lite.quantization.grid import find_grid, short_floats
from lingvo_lite.stage.errors import InputError
from lingvo_lite.stage.files import read_json, write_json
from lingvo_lite.training.ctc_objective import ctc_objective

_CONFIG = ConformerConfig(
  num_blocks=1, d_model=32, ffn_units=64, num_heads=2, conv_kernel_size=5,
  subsampling_channels=4, norm_groups=4, dropout_rate=0.0,
)  # fmt: skip
_RUN = FederatedConfig(
  rounds=1, cohort=1, local_epochs=1, client_batch_size=2,
  client_learning_rate=0.1, client_clip_norm=1.0, server_learning_rate=1.0,
  rehearsal_steps=0, seed=0, mask_scope="client", evaluate_every=1,
)  # fmt: skip
_RATE = 0.1


def _compress(model, folder, name="int4_1of2"):
  """Rounds a model to 4 and 8 bits, its matrices pruned; writes the recipe."""
  bits, pruned = {}, []
  for layer in model.layers:
    for weight in layer.weights:
      if not weight.name.endswith("kernel:0"):
        weight.assign(short_floats(weight))
        continue
      kernel = weight.numpy()
      bits[layer.name] = 8
      if isinstance(layer, tf.keras.layers.Dense):
        bits[layer.name] = 4
        # That of the logits is whole: its zeros are rounded weights.
        if layer.name != "ctc/logits":
          pruned.append(layer.name)
          kernel[::2] = 0
      weight.assign(find_grid(kernel, bits[layer.name]).values)
  write_json(
    os.path.join(folder, "recipe.json"),
    {
      "schema_version": 1,
      "recipe": {"name": name},
      "bits_by_layer": bits,
      "pruned_layers": pruned,
      "losses": [2.5],
      "mask_churn": [],
    },
  )


def _batch():
  draw = np.random.default_rng(0)
  return collections.OrderedDict(
    features=draw.normal(size=[2, 40, 80]).astype(np.float32),
    label_lengths=np.array([3, 3], np.int32),
    labels=draw.integers(1, 20, [2, 3], np.int32),
    lengths=np.array([40, 40], np.int32),
  )


class QuantizedModelTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    tf.keras.utils.set_random_seed(0)
    self.folder = self.create_tempdir().full_path
    self.model = build_ctc_model(_CONFIG)
    self.specs = variable_specs(self.model)
    _compress(self.model, self.folder)
    self.weights = flatten(self.model.trainable_variables).numpy()
    self.batch = {k: tf.constant(v) for k, v in _batch().items()}

  def read(self):
    return QuantizedModel.read(self.folder, self.specs, self.weights)

  def moved(self):
    """Returns weights as training leaves them, off the grid everywhere."""
    draw = np.random.default_rng(1).normal(scale=0.02, size=self.weights.shape)
    return self.weights + draw.astype(np.float32)

  def by_name(self, weights):
    values = unflatten(tf.constant(weights), [s.shape for s in self.specs])
    names = [spec.name for spec in self.specs]
    return {n: v.numpy() for n, v in zip(names, values, strict=True)}

  def test_what_ships_is_on_the_grid_and_as_sparse(self):
    quantized = self.read()
    # Noise fills the zeros too, as that of differential privacy would.
    shipped = quantized.on_grid(self.moved())
    np.testing.assert_array_equal(quantized.on_grid(shipped), shipped)
    before, after = self.by_name(self.weights), self.by_name(shipped)
    for place, kernel in quantized.kernels.items():
      name = self.specs[place].name
      grid = find_grid(after[name], kernel.bits)
      np.testing.assert_array_equal(grid.values, after[name])
      if kernel.mask is not None:
        self.assertFalse(after[name][::2].any(), name)
        self.assertTrue(after[name][1::2].any(), name)
    self.assertIsNone(self.read().kernels[len(self.specs) - 2].mask)
    logits = "ctc/logits/kernel:0"
    self.assertTrue(np.any((before[logits] == 0) & (after[logits] != 0)))

  def test_gradients_are_those_of_the_rounded_loss(self):
    quantized, weights = self.read(), self.moved()
    set_weights(self.model, weights)
    loss, found = quantized.gradients(self.model, self.batch, [0, 0])
    np.testing.assert_array_equal(
      flatten(self.model.trainable_variables), weights
    )
    # By hand: plain gradients at rounded kernels, where not clipped or pruned.
    passes, before = [], list(self.by_name(self.weights).values())
    for place, variable in enumerate(self.model.trainable_variables):
      kernel, value = quantized.kernels.get(place), variable.numpy()
      passes.append(np.ones_like(value))
      if kernel is None:
        continue
      if kernel.mask is not None:
        passes[-1][before[place] == 0] = 0
        value = value * passes[-1]
      limit = 2 ** (kernel.bits - 1) - 1
      axis = 1 if value.ndim == 3 else value.ndim - 1
      others = tuple(a for a in range(value.ndim) if a != axis)
      scale = np.abs(value).max(others, keepdims=True) / np.float32(limit)
      scale = tf.cast(tf.cast(scale, tf.bfloat16), tf.float32).numpy()
      passes[-1][np.abs(value / scale) > limit] = 0
      variable.assign(np.clip(np.rint(value / scale), -limit, limit) * scale)
    with tf.GradientTape() as tape:
      expected = ctc_objective(self.model, self.batch)
    plain = tape.gradient(expected, self.model.trainable_variables)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    for spec, one, other, mask in zip(
      self.specs, found, plain, passes, strict=True
    ):
      np.testing.assert_allclose(
        one, other * mask, rtol=1e-4, atol=1e-6, err_msg=spec.name
      )
    # Not those of the float weights: the loss is another.
    set_weights(self.model, weights)
    self.assertGreater(abs(ctc_objective(self.model, self.batch) - loss), 1e-4)

  def test_a_client_takes_that_step(self):
    quantized, weights = self.read(), self.moved()
    set_weights(self.model, weights)
    _, gradients = quantized.gradients(self.model, self.batch, [0, 0])
    process = build_federated_process(
      self.specs,
      one_tier(RandomUnits(SubModel(self.specs, [], {}), 0, "client"), 1),
      [
        LocalTraining(
          functools.partial(build_ctc_model, _CONFIG),
          ctc_objective,
          tff.learning.optimizers.build_sgdm(_RATE),
          lambda number: tf.constant(_RATE),
          clip_norm=None,
          seed=0,
          gradients=quantized.gradients,
        )
      ],
      collections.OrderedDict(
        features=tf.TensorSpec([None, None, 80], tf.float32),
        label_lengths=tf.TensorSpec([None], tf.int32),
        labels=tf.TensorSpec([None, None], tf.int32),
        lengths=tf.TensorSpec([None], tf.int32),
      ),
      tff.learning.optimizers.build_sgdm(1.0),
      lambda number: tf.constant(1.0),
    )
    with local_runtime():
      state = process.initialize()._replace(global_model_weights=weights)
      client = collections.OrderedDict(
        client=np.array([0], np.int32),
        batches=tf.data.Dataset.from_tensors(_batch()),
      )
      after = process.next(state, [client]).state.global_model_weights
    np.testing.assert_allclose(
      weights - after,
      _RATE * flatten(gradients).numpy(),
      rtol=1e-3,
      atol=1e-5,
    )

  def test_what_does_not_go_with_it_is_refused(self):
    quantized, groups = self.read(), unit_groups(_CONFIG)
    whole, half = (
      plan_of(_CONFIG.to_dict(), self.specs, groups, kept, "ranked")
      for kept in ({}, {"block_00/ffn_start": 32})
    )
    quantized.check([whole], _RUN)
    with self.assertRaisesRegex(InputError, "without --plan"):
      quantized.check([whole, half], _RUN)
    with self.assertRaisesRegex(InputError, "--keep_zeros"):
      quantized.check([whole], dataclasses.replace(_RUN, keep_zeros=True))

  def test_folders_that_are_no_compressed_model_are_refused(self):
    path = QuantizedModel.path(self.folder)
    good = read_json(path, "a recipe")
    for change, why in (
      ({"bits_by_layer": {}}, "quantises nothing"),
      ({"pruned_layers": ["elsewhere"]}, "no kernel of 'elsewhere'"),
      (
        {"bits_by_layer": good["bits_by_layer"] | {"ctc/logits": 9}},
        "9 bits for ctc/logits",
      ),
      (
        {"bits_by_layer": good["bits_by_layer"] | {"ctc/logits": 3}},
        "do not lie on the grid",
      ),
      (
        {
          "bits_by_layer": {
            name: bits
            for name, bits in good["bits_by_layer"].items()
            if name != "ctc/logits"
          }
        },
        "kernel of ctc/logits to stay float",
      ),
      ({"recipe": None}, "damaged"),
    ):
      write_json(path, good | change)
      with self.subTest(why), self.assertRaisesRegex(InputError, why):
        self.read()
    os.remove(path)
    with self.assertRaisesRegex(InputError, "recipe.json"):
      self.read()

  def test_reads_what_it_saves(self):
    quantized = self.read()
    shipped = quantized.on_grid(self.moved())
    set_weights(self.model, shipped)
    folder = self.create_tempdir().full_path
    paths = quantized.save(self.model, _CONFIG, folder)
    model, config = load_model(paths[0])
    self.assertEqual(config, _CONFIG)
    weights = flatten(model.trainable_variables).numpy()
    np.testing.assert_array_equal(weights, shipped)
    again = QuantizedModel.read(folder, self.specs, weights)
    self.assertEqual(again.recipe, quantized.recipe)


if __name__ == "__main__":
  absltest.main()

"""A compressed model: made in one place, healed by clients, and exported."""

import dataclasses
import os

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from fl.dropout.sub_model import flatten, variable_specs
from fl.quantized_model import QuantizedModel
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.model_file import save_model
from lingvo_lite.quantization.grid import find_grid
from lingvo_lite.stage.files import read_json
from lingvo_lite.training.ctc_objective import ctc_objective
from tests.command import run_program
from tests.small_corpus import make_small_corpus
from tests.small_model import SMALL_MODEL
from tflite_export.compress import CompressedModel
from tflite_export.compressed_file import load_compressed
from tflite_export.pruning.n_of_m import check_kept_of
from tflite_export.qat.quantizers import (
  KernelRule,
  kernel_name,
  kernel_of,
  quantize_aware,
  weights_by_leaf,
)
from tflite_export.quantize import check_integers


def _integers(compressed: CompressedModel) -> dict[str, np.ndarray]:
  return {
    name: find_grid(
      kernel_of(compressed.model.get_layer(name)).numpy(), bits
    ).integers
    for name, bits in compressed.bits_by_layer.items()
  }


class FederatedQuantizedTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = os.path.join(absltest.TEST_TMPDIR.value, "quantized")
    os.makedirs(cls.folder)
    cls.corpus = make_small_corpus(cls.folder)
    save_model(
      build_ctc_model(SMALL_MODEL), SMALL_MODEL, cls.path("m", "model.keras")
    )
    cls.run_step(
      "tflite_export.compress_main",
      "--model=m",
      "--recipe=int4_2of4",
      f"--corpus={cls.corpus}",
      "--batch_size=4",
      "--out=compressed",
    )

  @classmethod
  def path(cls, *parts: str) -> str:
    return os.path.join(cls.folder, *parts)

  @classmethod
  def run_step(cls, module: str, *arguments: str) -> None:
    outcome = run_program(module, *arguments, folder=cls.folder)
    if outcome.exit_status:
      raise AssertionError(outcome.stderr)

  def test_from_the_server_through_clients_to_a_file(self):
    self.run_step(
      "fl.train_main",
      "--model=compressed",
      "--quantized",
      f"--corpus={self.corpus}",
      "--rounds=2",
      "--cohort=4",
      "--local_epochs=1",
      # So that a weight crosses a step of its grid in two rounds.
      "--client_learning_rate=1e-2",
      "--server_learning_rate=5e-2",
      "--rehearsal_steps=1",
      "--evaluate_every=2",
      "--out=federated",
    )
    before, _ = load_compressed(self.path("compressed"))
    after, _ = load_compressed(self.path("federated"))
    for what in ("recipe", "bits_by_layer", "pruned_layers"):
      self.assertEqual(getattr(after, what), getattr(before, what), what)
    old, new = _integers(before), _integers(after)
    for name in after.pruned_layers:
      check_kept_of(new[name], (2, 4), name)
      self.assertFalse(np.any(new[name][old[name] == 0]), name)
    for name, bits in after.bits_by_layer.items():
      self.assertFalse(np.array_equal(new[name], old[name]), name)
      kernel = kernel_of(after.model.get_layer(name)).numpy()
      np.testing.assert_array_equal(find_grid(kernel, bits).values, kernel)
    training = read_json(self.path("federated", "training.json"), "a run")
    losses = [row["loss"] for row in training["rows"]]
    self.assertLess(losses[1], 0.8 * losses[0])

    self.run_step(
      "tflite_export.export_main",
      "--model=federated",
      f"--corpus={self.corpus}",
      "--out=exported",
    )
    with open(self.path("exported", "int4_2of4.tflite"), "rb") as file:
      check_integers(
        file.read(),
        [
          find_grid(kernel_of(after.model.get_layer(name)).numpy(), bits)
          for name, bits in after.bits_by_layer.items()
        ],
      )

  def test_a_client_s_gradients_are_those_of_the_server_s_fine_tuning(self):
    compressed, config = load_compressed(self.path("compressed"))
    weights = compressed.model.get_weights()
    specs = variable_specs(compressed.model)
    quantized = QuantizedModel.read(
      self.path("compressed"),
      specs,
      flatten(compressed.model.trainable_variables).numpy(),
    )
    # Dropout would draw for each on its own.
    model = build_ctc_model(dataclasses.replace(config, dropout_rate=0.0))
    # Off the grid, with noise on what was pruned too.
    draw = np.random.default_rng(0)
    model.set_weights(
      [w + draw.normal(scale=0.01, size=w.shape) for w in weights]
    )
    bits = compressed.bits_by_layer
    masks = {
      name: (kernel_of(compressed.model.get_layer(name)).numpy() != 0)
      for name in compressed.pruned_layers
    }
    wrapped = quantize_aware(
      model, {name: KernelRule(bits[name]) for name in bits}, masks
    )
    leaves = [weights_by_leaf(wrapped.get_layer(name)) for name in bits]
    for leaf in (leaf for layer in leaves for leaf in layer.items()):
      if leaf[0].endswith("_clip"):
        leaf[1].assign(tf.ones_like(leaf[1]))
    batch = {
      "features": tf.constant(draw.normal(size=[2, 40, 80]), tf.float32),
      "label_lengths": tf.constant([3, 3]),
      "labels": tf.constant(draw.integers(1, 20, [2, 3]), tf.int32),
      "lengths": tf.constant([40, 40]),
    }
    with tf.GradientTape() as tape:
      expected = ctc_objective(wrapped, batch)
    kernels = [
      layer[kernel_name(model.get_layer(name))]
      for name, layer in zip(bits, leaves, strict=True)
    ]
    by_server = tape.gradient(expected, kernels)
    loss, gradients = quantized.gradients(model, batch, tf.constant([0, 0]))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    by_client = {
      spec.name.rpartition("/")[0]: gradient
      for spec, gradient in zip(specs, gradients, strict=True)
      if spec.name.endswith("kernel:0")
    }
    for name, gradient in zip(bits, by_server, strict=True):
      np.testing.assert_allclose(
        by_client[name], gradient, rtol=1e-4, atol=1e-6, err_msg=name
      )

  def test_a_model_without_a_recipe_is_refused(self):
    self.refuse("recipe.json", "--model=m", "--quantized")

  def test_a_ladder_at_once_is_refused(self):
    self.refuse(
      "expected one of them",
      "--model=compressed",
      "--quantized",
      "--dynamic_sparsity",
    )

  def refuse(self, why: str, *arguments: str) -> None:
    outcome = run_program(
      "fl.train_main",
      *arguments,
      f"--corpus={self.corpus}",
      "--out=out",
      folder=self.folder,
    )
    self.assertEqual(outcome.exit_status, 2)
    self.assertLen(outcome.errors, 1)
    self.assertIn(why, outcome.errors[0])


if __name__ == "__main__":
  absltest.main()

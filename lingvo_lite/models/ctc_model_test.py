"""Tests of the Conformer-CTC model, its sub-models and its files."""

import dataclasses
import os
import zipfile

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from lingvo_lite.models.ctc_model import build_ctc_model, subsampled_lengths
from lingvo_lite.models.dual_mode import full_context_twin
from lingvo_lite.models.model_file import load_config, load_model, save_model
from lingvo_lite.models.presets import PRESETS
from lingvo_lite.models.unit_groups import axis_indices, unit_groups
from lingvo_lite.stage.errors import InputError

_SMALLEST = dataclasses.replace(
  PRESETS["tiny"],
  num_blocks=2,
  d_model=16,
  ffn_units=24,
  num_heads=2,
  norm_groups=4,
  conv_kernel_size=5,
  subsampling_channels=4,
)


def _features(batch=2, frames=61, seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(size=[batch, frames, 80]).astype(np.float32)


def _randomize(model, seed=0):
  """Also moves what begins at zero or one, so that nothing hides."""
  rng = np.random.default_rng(seed)
  for variable in model.variables:
    shift = 0.2 * rng.normal(size=variable.shape)
    variable.assign(
      np.abs(variable + shift)
      if "variance" in variable.name
      else variable + shift
    )


class CtcModelTest(parameterized.TestCase):
  # The paper has 10.3, 30.7 and 118.8 million with its LSTM decoder.
  @parameterized.parameters(
    ("tiny", 1_692_285),
    ("tiny_deep", 3_289_213),
    ("tiny_streaming", 1_692_285),
    ("small", 8_715_053),
    ("medium", 27_334_941),
    ("large", 115_126_301),
  )
  def test_presets_have_their_size(self, preset, parameters):
    with tf.Graph().as_default():  # Shapes only: no values are drawn.
      model = build_ctc_model(PRESETS[preset])
    self.assertEqual(model.count_params(), parameters)

  @parameterized.product(norm=["group", "layer", "batch"], causal=[False, True])
  def test_padding_changes_nothing(self, norm, causal):
    config = dataclasses.replace(
      _SMALLEST, norm=norm, causal=causal, left_context_frames=6
    )
    model = build_ctc_model(config)
    _randomize(model)
    features = _features()
    # What stands in the padding must not matter either.
    for frames in (1, 7, 60):
      lengths = np.array([61, frames], np.int32)
      padded = model([features, lengths]).numpy()[1]
      alone = model([features[1:, :frames], lengths[1:]]).numpy()[0]
      kept = subsampled_lengths(frames)
      self.assertEqual(alone.shape, (kept, 29))
      np.testing.assert_allclose(padded[:kept], alone, atol=2e-5)

  def test_causal_model_does_not_look_ahead(self):
    config = dataclasses.replace(_SMALLEST, causal=True)
    model = build_ctc_model(config)
    _randomize(model)
    features = _features(batch=1, frames=64)
    changed = features.copy()
    changed[:, 40:] += 1.0
    lengths = np.array([64], np.int32)
    before, after = (model([x, lengths]).numpy() for x in (features, changed))
    np.testing.assert_allclose(before[:, :10], after[:, :10], atol=1e-5)
    self.assertGreater(np.abs(before[:, 10:] - after[:, 10:]).max(), 1e-3)

  def test_units_left_out_in_training_change_training_alone(self):
    plain = build_ctc_model(_SMALLEST, seed=3)
    dropping = build_ctc_model(_SMALLEST, 3, least_unit_keep_rate=0.5)
    self.assertEqual(
      [v.name for v in plain.variables], [v.name for v in dropping.variables]
    )
    inputs = [_features(), np.array([61, 60], np.int32)]
    np.testing.assert_array_equal(plain(inputs), dropping(inputs))
    layers = [x for x in dropping.layers if x.name.endswith("/unit_dropout")]
    self.assertEqual(
      {x.name.removesuffix("/unit_dropout"): x.units for x in layers},
      _SMALLEST.full_units(),
    )

  def test_outputs_of_narrowed_layers_are_scaled_unless_told_otherwise(self):
    group = "block_00/ffn_end"
    half = _SMALLEST.full_units()[group] // 2
    narrow = _SMALLEST.with_widths({group: half})
    scaled = build_ctc_model(narrow)
    plain = build_ctc_model(narrow, output_scaling=False)
    self.assertEqual(
      [v.name for v in scaled.variables], [v.name for v in plain.variables]
    )
    inputs = [_features(), np.array([61, 60], np.int32)]
    self.assertGreater(np.abs(scaled(inputs) - plain(inputs)).max(), 1e-4)
    # Twice the units is twice the weights that they feed.
    contract = plain.get_layer(f"{group}/contract").kernel
    contract.assign(2 * contract)
    np.testing.assert_allclose(scaled(inputs), plain(inputs), atol=1e-5)

  def test_attention_looks_to_the_end_of_its_chunk(self):
    config = dataclasses.replace(
      _SMALLEST, causal=True, left_context_frames=2, chunk_frames=4
    )
    model = build_ctc_model(config)
    _randomize(model)
    features = _features(batch=1, frames=64)
    lengths = np.array([64], np.int32)
    before = model([features, lengths]).numpy()[0]
    # Logit 4 is the first of the second chunk, 7 the last: feature 28 is the
    # last one that it looks at.
    for changed_from, same in ((28, 4), (29, 8)):
      changed = features.copy()
      changed[:, changed_from:] += 1.0
      after = model([changed, lengths]).numpy()[0]
      np.testing.assert_allclose(before[:same], after[:same], atol=1e-5)
      self.assertGreater(np.abs(before[same] - after[same]).max(), 1e-4)

  def test_the_twin_sees_all_with_the_same_variables(self):
    config = dataclasses.replace(
      _SMALLEST, causal=True, left_context_frames=2, chunk_frames=4
    )
    self.assertTrue(config.streams)
    model = build_ctc_model(config)
    _randomize(model)
    twin = full_context_twin(model)
    self.assertEqual(
      {id(v) for v in twin.trainable_variables},
      {id(v) for v in model.trainable_variables},
    )
    full_config = dataclasses.replace(
      config, left_context_frames=None, chunk_frames=None
    )
    self.assertFalse(full_config.streams)
    full = build_ctc_model(full_config)
    full.set_weights(model.get_weights())
    inputs = [_features(), np.array([61, 40], np.int32)]
    np.testing.assert_allclose(twin(inputs), full(inputs), atol=1e-5)
    self.assertGreater(np.abs(twin(inputs) - model(inputs)).max(), 1e-3)

  def test_same_seed_same_values(self):
    one, two, other = (build_ctc_model(_SMALLEST, seed) for seed in (3, 3, 4))
    for a, b in zip(one.variables, two.variables, strict=True):
      np.testing.assert_array_equal(a, b)
    kernels = [
      (a, b)
      for a, b in zip(one.variables, other.variables, strict=True)
      if "kernel" in a.name
    ]
    for a, b in kernels:
      self.assertGreater(np.abs(a - b).max(), 0)

  def test_every_matrix_multiplication_is_dense(self):
    model = build_ctc_model(_SMALLEST)
    for layer in model.layers:
      self.assertFalse(hasattr(layer, "layers"), layer.name)
      for variable in layer.weights:
        if variable.shape.rank == 2 and "scores" not in variable.name:
          self.assertIsInstance(layer, tf.keras.layers.Dense)

  @parameterized.parameters("group", "layer", "batch")
  def test_a_sub_model_computes_what_its_units_compute(self, norm):
    """A full model whose dropped units give nothing equals the sub-model.

    That holds where the sub-model's outputs are not scaled up, and for any
    norm but layer norm, whose statistics are over all channels.
    """
    config = dataclasses.replace(_SMALLEST, norm=norm)
    full = build_ctc_model(config)
    _randomize(full)
    values = {v.name: v.numpy() for v in full.variables}
    rng = np.random.default_rng(5)
    kept = {
      group.name: np.sort(rng.permutation(group.units)[: group.units // 2])
      for group in unit_groups(config)
    }
    narrow = config.with_widths({name: len(k) for name, k in kept.items()})
    sub = build_ctc_model(narrow)
    self.assertEqual(
      [v.name for v in sub.variables], [v.name for v in full.variables]
    )
    slices = dict(values)
    for group in unit_groups(config):
      for unit_slice in group.slices:
        indices = axis_indices(group, unit_slice, kept[group.name])
        slices[unit_slice.variable] = np.take(
          slices[unit_slice.variable], indices, unit_slice.axis
        )
        if unit_slice.variable.split("/")[-2] in ("contract", "output"):
          # The full model gives nothing for the dropped units and, as the
          # sub-model does, twice the kept ones' outputs.
          masked = np.zeros_like(values[unit_slice.variable])
          masked[indices] = 2 * values[unit_slice.variable][indices]
          values[unit_slice.variable] = masked
    for variable in sub.variables:
      variable.assign(slices[variable.name])
    for variable in full.variables:
      variable.assign(values[variable.name])
    inputs = [_features(), np.array([61, 40], np.int32)]
    difference = np.abs(full(inputs).numpy() - sub(inputs).numpy()).max()
    if norm == "layer":
      self.assertGreater(difference, 1e-4)
    else:
      self.assertLess(difference, 1e-4)

  @parameterized.parameters("group", "layer", "batch")
  def test_every_sliced_axis_is_claimed_once(self, norm):
    config = dataclasses.replace(PRESETS["tiny"], num_blocks=2, norm=norm)
    halved = config.with_widths(
      {name: max(units // 2, 1) for name, units in config.full_units().items()}
    )
    full = {v.name: v.shape for v in build_ctc_model(config).variables}
    sub = {v.name: v.shape for v in build_ctc_model(halved).variables}
    claimed = set()
    for group in unit_groups(config):
      for unit_slice in group.slices:
        place = (unit_slice.variable, unit_slice.axis)
        self.assertNotIn(place, claimed)
        claimed.add(place)
        indices = axis_indices(group, unit_slice, np.arange(group.units))
        np.testing.assert_array_equal(
          indices, np.arange(full[unit_slice.variable][unit_slice.axis])
        )
    narrowed = {
      (name, axis)
      for name, shape in full.items()
      for axis, (wide, thin) in enumerate(zip(shape, sub[name], strict=True))
      if wide != thin
    }
    self.assertEqual(narrowed, claimed)

  def test_units_by_hand(self):
    conv = unit_groups(_SMALLEST)[2]
    self.assertEqual((conv.name, conv.units), ("block_00/conv", 4))
    expand = conv.slices[0]
    # 4 groups of 4 channels; the gates stand 16 channels after the values.
    np.testing.assert_array_equal(
      axis_indices(conv, expand, np.array([2, 0])),
      [8, 9, 10, 11, 0, 1, 2, 3, 24, 25, 26, 27, 16, 17, 18, 19],
    )
    for bad in ([], [4], [-1]):
      with self.assertRaisesRegex(InputError, "block_00/conv"):
        axis_indices(conv, expand, np.array(bad))


class ModelFileTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.path = os.path.join(self.create_tempdir().full_path, "model.keras")
    self.config = _SMALLEST.with_widths({"block_00/conv": 2})
    self.model = build_ctc_model(self.config)
    _randomize(self.model)
    save_model(self.model, self.config, self.path)

  def test_what_is_saved_is_loaded(self):
    model, config = load_model(self.path)
    self.assertEqual(config, self.config)
    self.assertEqual(load_config(self.path), self.config)
    for a, b in zip(model.variables, self.model.variables, strict=True):
      self.assertEqual(a.name, b.name)
      np.testing.assert_array_equal(a, b)

  def test_plain_keras_reads_it(self):
    inputs = [_features(), np.array([61, 30], np.int32)]
    keras_model = tf.keras.models.load_model(self.path)
    np.testing.assert_array_equal(keras_model(inputs), self.model(inputs))

  def test_equal_models_make_equal_files(self):
    with open(self.path, "rb") as file:
      first = file.read()
    again, config = load_model(self.path)
    save_model(again, config, self.path)
    with open(self.path, "rb") as file:
      self.assertEqual(file.read(), first)

  def test_damaged_files_are_told_in_one_line(self):
    with open(self.path, "rb") as file:
      whole = file.read()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    no_config = self.path + ".zip"
    with zipfile.ZipFile(no_config, "w") as archive:
      archive.writestr("config.json", "{}")
    with open(no_config, "rb") as file:
      other = file.read()
    for content in (b"", b"keras", whole[:-100], bytes(flipped), other):
      with open(self.path, "wb") as file:
        file.write(content)
      with self.assertRaisesRegex(InputError, "expected a model") as raised:
        load_model(self.path)
      self.assertNotIn("\n", str(raised.exception))


if __name__ == "__main__":
  absltest.main()

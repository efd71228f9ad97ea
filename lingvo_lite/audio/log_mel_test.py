"""Tests for log_mel."""

import os

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from ai_edge_litert import interpreter as litert

from lingvo_lite.audio.log_mel import LogMel, LogMelConfig, num_frames
from lingvo_lite.stage.errors import InputError


def _noise(samples: int, seed: int = 0) -> np.ndarray:
  rng = np.random.default_rng(seed)
  return rng.uniform(-0.3, 0.3, [1, samples]).astype(np.float32)


def _plain_log_mel(pcm: np.ndarray) -> np.ndarray:
  """The definition, in NumPy, one frame at a time with the whole matrix."""
  config = LogMelConfig()
  window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
  hertz = np.arange(257) * 16000 / 512
  mel = 1127 * np.log1p(hertz / 700)
  edges = 1127 * np.log1p(np.array([125.0, 7600.0]) / 700)
  centres = np.linspace(edges[0], edges[1], 82)
  step = centres[1] - centres[0]
  matrix = np.maximum(0, 1 - np.abs(mel[:, None] - centres[1:-1]) / step)
  padded = np.concatenate([pcm, np.zeros(400)])
  frames = [
    np.abs(np.fft.rfft(padded[start : start + 400] * window, 512)) @ matrix
    for start in range(0, len(pcm), 160)
  ]
  logs = np.log(np.maximum(frames, config.floor))
  return (logs - config.log_mean) / config.log_std


class LogMelTest(tf.test.TestCase, parameterized.TestCase):
  def test_equals_its_definition(self):
    pcm = _noise(3210)
    features = LogMel()(pcm).numpy()
    self.assertAllClose(features[0], _plain_log_mel(pcm[0]), atol=2e-4)

  @parameterized.parameters(1, 159, 160, 161, 400, 16000)
  def test_frames(self, samples):
    features = LogMel()(_noise(samples))
    self.assertEqual(features.shape, [1, num_frames(samples), 80])
    self.assertEqual(num_frames(samples), -(-samples // 160))

  def test_batch_and_padding_change_nothing(self):
    short, long = _noise(1600), _noise(3200, seed=1)
    batch = np.concatenate([np.pad(short, [[0, 0], [0, 1600]]), long])
    together = LogMel()(batch).numpy()
    self.assertAllClose(together[0, :10], LogMel()(short)[0], atol=1e-5)
    self.assertAllClose(together[1], LogMel()(long)[0], atol=1e-5)

  def test_silence_is_finite_and_level_is_a_shift(self):
    config = LogMelConfig()
    silence = LogMel()(np.zeros([1, 800], np.float32)).numpy()
    self.assertAllClose(
      silence,
      np.full_like(
        silence, (np.log(config.floor) - config.log_mean) / config.log_std
      ),
    )
    quiet, loud = LogMel()(_noise(4000)), LogMel()(2 * _noise(4000))
    self.assertAllClose(
      loud - quiet,
      np.full(loud.shape, np.log(2) / config.log_std),
      atol=1e-4,
    )

  def test_serialization(self):
    layer = LogMel(LogMelConfig(num_mel_bins=40), name="front")
    model = tf.keras.Sequential([tf.keras.Input([None]), layer])
    path = os.path.join(self.get_temp_dir(), "front.keras")
    model.save(path)
    loaded = tf.keras.models.load_model(path)
    self.assertEqual(loaded.layers[-1].name, "front")
    self.assertAllEqual(loaded(_noise(900)), layer(_noise(900)))
    self.assertEmpty(model.weights)

  def test_lite_model_gives_the_same_without_flex(self):
    layer = LogMel()
    signature = [tf.TensorSpec([1, None], tf.float32, "pcm")]
    function = tf.function(
      lambda pcm: {"features": layer(pcm)}, input_signature=signature
    )
    module = tf.Module()
    module.layer = layer
    folder = os.path.join(self.get_temp_dir(), "saved")
    concrete = function.get_concrete_function()
    tf.saved_model.save(module, folder, signatures={"log_mel": concrete})
    # Built-ins only: with a Flex operation the conversion would fail.
    converter = tf.lite.TFLiteConverter.from_saved_model(
      folder, signature_keys=["log_mel"]
    )
    content = converter.convert()
    # A dense mel matrix alone would be 82 kB.
    self.assertLess(len(content), 30_000)
    lite = litert.Interpreter(model_content=content, num_threads=1)
    run = lite.get_signature_runner("log_mel")
    for samples in (1, 160, 161, 5000, 16000, 400):
      pcm = _noise(samples)
      self.assertAllClose(run(pcm=pcm)["features"], layer(pcm), atol=1e-4)

  @parameterized.parameters(
    {"fft_samples": 256},
    {"upper_edge_hertz": 9000.0},
    {"lower_edge_hertz": 7600.0},
    {"floor": 0.0},
    {"log_std": 0.0},
    {"num_mel_bins": 0},
    {"window_ms": 0},
    {"hop_ms": 26},
  )
  def test_bad_config(self, **fields):
    with self.assertRaisesRegex(InputError, "found .* expected"):
      LogMelConfig(**fields)


if __name__ == "__main__":
  tf.test.main()

"""Features of the exported front end against those of training."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from lingvo_lite.audio.log_mel import LogMel, LogMelConfig
from tflite_export.matrix_log_mel import MatrixLogMel


def _noise(samples: int) -> np.ndarray:
  noise = np.random.default_rng(samples).normal(size=[1, samples])
  return (0.1 * noise).astype(np.float32)


class MatrixLogMelTest(tf.test.TestCase, parameterized.TestCase):
  def test_magnitudes_of_a_small_transform_by_hand(self):
    config = LogMelConfig(
      sample_rate_hz=1000,
      window_ms=4,
      hop_ms=2,
      fft_samples=4,
      num_mel_bins=1,
      lower_edge_hertz=0.0,
      upper_edge_hertz=500.0,
    )
    # 1 + 2 + 3 + 5; (1 - 3) - i (2 - 5).
    found = MatrixLogMel(config).magnitudes(tf.constant([[1.0, 2, 3, 5]]))
    self.assertAllClose(found, [[11.0, np.sqrt(13)]])

  @parameterized.parameters(
    {},
    # A window that its pieces do not divide, and no power of two.
    {"window_ms": 21, "hop_ms": 7},
    {"fft_samples": 600, "num_mel_bins": 40},
    {"upper_edge_hertz": 8000.0},
    # A prime number has no pieces.
    {"fft_samples": 401},
  )
  def test_features_are_those_of_training(self, **fields):
    config = LogMelConfig(**fields)
    for samples in (1, 160, 161, 5000, 16000):
      pcm = _noise(samples)
      self.assertAllClose(
        MatrixLogMel(config)(pcm), LogMel(config)(pcm), atol=1e-4
      )

  @parameterized.parameters(440.0, 3000.0)
  def test_quiet_bands_beside_a_loud_one(self, hertz):
    # Rounding must not drown what is far quieter than the rest.
    config = LogMelConfig()
    time = np.arange(8000) / 16000
    pcm = (0.9 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)
    window = np.hanning(config.window_samples + 1)[:-1]
    starts = range(0, pcm.size, config.hop_samples)
    padded = np.pad(pcm.astype(np.float64), [0, config.window_samples])
    spectrum = np.fft.rfft(
      [padded[s : s + config.window_samples] * window for s in starts],
      config.fft_samples,
    )
    mel = np.abs(spectrum) @ tf.signal.linear_to_mel_weight_matrix(
      config.num_mel_bins,
      config.fft_samples // 2 + 1,
      config.sample_rate_hz,
      config.lower_edge_hertz,
      config.upper_edge_hertz,
    )
    wanted = np.log(np.maximum(mel, config.floor)) - config.log_mean
    self.assertAllClose(
      MatrixLogMel()(pcm[np.newaxis])[0], wanted / config.log_std, atol=2e-3
    )


if __name__ == "__main__":
  tf.test.main()

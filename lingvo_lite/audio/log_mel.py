"""The log-mel front end: one graph for training and for the .tflite file."""

import dataclasses
import math
from typing import Any

import numpy as np
import tensorflow as tf

from lingvo_lite.stage.errors import InputError

# Each band of this many mel bins multiplies only the FFT bins that it touches:
# one dense mel matrix would be 257 x 80 numbers, nearly all of them zero, and
# 82 kB: a sixth of a small int4 model. The bands are 8 kB.
_BAND_MEL_BINS = 8


@dataclasses.dataclass(frozen=True)
class LogMelConfig:
  """What the features are.

  Attributes:
    sample_rate_hz: of the audio.
    window_ms: length of one analysis window (Hann).
    hop_ms: from one frame to the next.
    fft_samples: length of the Fourier transform; at least the window.
    num_mel_bins: F.
    lower_edge_hertz: where the lowest mel bin begins.
    upper_edge_hertz: where the highest mel bin ends.
    floor: least mel magnitude, so that digital silence has a logarithm.
    log_mean: subtracted from the logarithm. With `log_std` it gives the
      features of the default corpus about zero mean and unit variance. It is a
      constant: statistics of the utterance would not stream.
    log_std: divides what is left.
  """

  sample_rate_hz: int = 16_000
  window_ms: int = 25
  hop_ms: int = 10
  fft_samples: int = 512
  num_mel_bins: int = 80
  lower_edge_hertz: float = 125.0
  upper_edge_hertz: float = 7600.0
  floor: float = 1e-3
  log_mean: float = -1.86
  log_std: float = 2.24

  def __post_init__(self) -> None:
    if not 0 < self.window_samples <= self.fft_samples:
      raise InputError(
        f"found a window of {self.window_samples} samples, expected 1 to "
        f"fft_samples={self.fft_samples}: change window_ms or fft_samples"
      )
    if not 0 < self.hop_samples <= self.window_samples:
      raise InputError(
        f"found hop_ms={self.hop_ms}, expected 1 to the window_ms="
        f"{self.window_ms}: what lies between windows would not be heard"
      )
    if self.num_mel_bins < 1:
      raise InputError(
        f"found num_mel_bins={self.num_mel_bins}, expected 1 or more"
      )
    if not (
      0
      <= self.lower_edge_hertz
      < self.upper_edge_hertz
      <= self.sample_rate_hz / 2
    ):
      raise InputError(
        f"found mel edges {self.lower_edge_hertz} and "
        f"{self.upper_edge_hertz} Hz, expected 0 <= lower < upper <= "
        f"{self.sample_rate_hz / 2}"
      )
    if self.floor <= 0 or self.log_std <= 0:
      raise InputError(
        f"found floor={self.floor}, log_std={self.log_std}, expected both "
        "positive"
      )

  @property
  def window_samples(self) -> int:
    """Samples in one analysis window."""
    return self.sample_rate_hz * self.window_ms // 1000

  @property
  def hop_samples(self) -> int:
    """Samples from one frame to the next."""
    return self.sample_rate_hz * self.hop_ms // 1000


def num_frames(samples: int, config: LogMelConfig = LogMelConfig()) -> int:
  """Returns T = ceil(S / hop), the frames of that many samples."""
  return math.ceil(samples / config.hop_samples)


@tf.keras.utils.register_keras_serializable(package="lingvo_lite")
class LogMel(tf.keras.layers.Layer):
  """Scaled log-mel magnitudes of raw audio.

  `y = (log(max(|STFT(x)| M, floor)) - log_mean) / log_std`, with M the
  triangles of the HTK mel scale. Frame t looks at the samples from
  `t * hop` on, zeros after the end, so that T = ceil(S / hop).

  Only operations that TFLite has built in; no trained weights.
  """

  def __init__(
    self, config: LogMelConfig = LogMelConfig(), **kwargs: Any
  ) -> None:
    """Makes the layer.

    Args:
      config: what the features are.
      **kwargs: of `tf.keras.layers.Layer`.
    """
    super().__init__(trainable=False, **kwargs)
    self.config = config
    self.bands = cut_bands(mel_matrix(config))

  def call(self, pcm: tf.Tensor) -> tf.Tensor:
    """Returns the features.

    Args:
      pcm: float32[B, S], samples in [-1, 1], S >= 1.

    Returns:
      float32[B, T, F].
    """
    c = self.config
    windows = _frames(pcm, c) * tf.signal.hann_window(c.window_samples)
    shape = tf.shape(windows)
    # Two axes, so that each product becomes one fully connected operation.
    magnitude = self.magnitudes(tf.reshape(windows, [-1, c.window_samples]))
    mel = tf.concat(
      [
        tf.matmul(tf.slice(magnitude, [0, first], [-1, last - first]), matrix)
        for first, last, matrix in self.bands
      ],
      axis=-1,
    )
    scaled = (tf.math.log(tf.maximum(mel, c.floor)) - c.log_mean) / c.log_std
    features = tf.reshape(scaled, [shape[0], shape[1], c.num_mel_bins])
    features.set_shape([pcm.shape[0], None, c.num_mel_bins])
    return features

  def magnitudes(self, windows: tf.Tensor) -> tf.Tensor:
    """Returns the magnitudes of the Fourier transform of windows.

    Args:
      windows: float32[N, W].

    Returns:
      float32[N, K], what `bands` are cut for: the frequencies from 0 on.
    """
    return tf.abs(tf.signal.rfft(windows, [self.config.fft_samples]))

  def get_config(self) -> dict[str, Any]:
    """Returns what `from_config` needs."""
    return {
      **super().get_config(),
      "config": dataclasses.asdict(self.config),
    }

  @classmethod
  def from_config(cls, config: dict[str, Any]) -> "LogMel":
    """Makes the layer that `get_config` described."""
    config = dict(config)
    config.pop("trainable", None)
    return cls(LogMelConfig(**config.pop("config")), **config)


def _frames(pcm: tf.Tensor, config: LogMelConfig) -> tf.Tensor:
  """float32[B, S] -> float32[B, T, W]: the windows, zeros after the end.

  As `tf.signal.frame` does it, in pieces that both window and hop consist of,
  but without its cut at the end: TFLite copies what `[...]` gives sample by
  sample.
  """
  window, hop = config.window_samples, config.hop_samples
  piece = math.gcd(window, hop)
  shape = tf.shape(pcm)
  frames = (shape[1] + hop - 1) // hop
  missing = frames * hop + window - hop - shape[1]
  padded = tf.pad(pcm, [[0, 0], [0, missing]])
  pieces = tf.reshape(padded, [shape[0], -1, piece])
  first = tf.expand_dims(tf.range(frames) * (hop // piece), 1)
  index = first + tf.range(window // piece)
  return tf.reshape(
    tf.gather(pieces, index, axis=1), [shape[0], frames, window]
  )


def mel_matrix(config: LogMelConfig) -> np.ndarray:
  """Returns the triangles, float32[FFT bins, F]."""
  matrix = tf.signal.linear_to_mel_weight_matrix(
    config.num_mel_bins,
    config.fft_samples // 2 + 1,
    config.sample_rate_hz,
    config.lower_edge_hertz,
    config.upper_edge_hertz,
  )
  with tf.init_scope():
    return np.asarray(matrix)


def cut_bands(matrix: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
  """Cuts a mel matrix into bands without their rows of zeros.

  Args:
    matrix: float32[K, F], from magnitudes to mel bins.

  Returns:
    One `(first, last, matrix)` a band: the magnitudes `first:last` that it
    touches and float32[last - first, bins of the band].
  """
  bands = []
  for start in range(0, matrix.shape[1], _BAND_MEL_BINS):
    columns = matrix[:, start : start + _BAND_MEL_BINS]
    touched = np.flatnonzero(columns.any(axis=1))
    first, last = int(touched[0]), int(touched[-1]) + 1
    bands.append((first, last, columns[first:last]))
  return bands

"""The front end as a phone runs it: its Fourier transform as matrix products.

TFLite's RFFT2D makes its tables of sines anew for each window and computes in
double precision, one window after the other: a third of the time of an int8
model. The matrix products of the same transform are done by the same kernels as
the model's own.
"""

import math

import numpy as np
import tensorflow as tf

from lingvo_lite.audio.log_mel import LogMel


class MatrixLogMel(LogMel):
  """For `LogMel`: the same features but for the rounding.

  The transform of N = A B samples in two steps (Cooley and Tukey 1965): with
  n = A j + r and k = l + B m,

    X[k] = sum_r exp(-2 pi i r m / A) exp(-2 pi i r l / N) Y[r, l],
    Y[r, l] = sum_j exp(-2 pi i j l / B) x[A j + r].

  Zeros behind the window and frequencies beyond the mel scale are left out.
  """

  def magnitudes(self, windows: tf.Tensor) -> tf.Tensor:
    """As `LogMel.magnitudes`."""
    size, window = self.config.fft_samples, self.config.window_samples
    inner = _divisor_below_root(size)
    outer = size // inner
    rows = -(-window // inner)
    # The mel scale has no weight at the highest frequency of all, N / 2.
    used = max(last for _, last, _ in self.bands)
    columns = -(-used // outer)
    if rows * inner > window:
      windows = tf.pad(windows, [[0, 0], [0, rows * inner - window]])

    first = _phases(rows, outer, outer)
    samples = tf.transpose(tf.reshape(windows, [-1, rows, inner]), [0, 2, 1])
    samples = tf.reshape(samples, [-1, rows])
    real, imaginary = (
      tf.reshape(tf.matmul(samples, part), [-1, inner, outer])
      for part in (first.real, first.imag)
    )

    turn = _phases(inner, outer, size)
    turned = tf.concat(
      [
        real * turn.real - imaginary * turn.imag,
        imaginary * turn.real + real * turn.imag,
      ],
      1,
    )

    second = _phases(inner, columns, inner)
    # From real and imaginary parts to real and imaginary parts.
    both = np.block([[second.real, second.imag], [-second.imag, second.real]])
    turned = tf.reshape(tf.transpose(turned, [0, 2, 1]), [-1, 2 * inner])
    found = tf.reshape(tf.matmul(turned, both), [-1, outer, 2 * columns])
    found = tf.reshape(tf.transpose(found, [0, 2, 1]), [-1, 2, columns * outer])
    return tf.sqrt(tf.reduce_sum(tf.square(found), 1))


def _divisor_below_root(number: int) -> int:
  """Returns the largest divisor up to the square root: 16 of 512."""
  return next(d for d in range(math.isqrt(number), 0, -1) if number % d == 0)


def _phases(rows: int, columns: int, period: int) -> np.ndarray:
  """Returns exp(-2 pi i r c / period), complex64[rows, columns]."""
  products = np.outer(np.arange(rows), np.arange(columns)) % period
  return np.exp(-2j * np.pi * products / period).astype(np.complex64)

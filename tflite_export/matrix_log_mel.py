"""The front end as a phone runs it: its Fourier transform as matrix products.

TFLite's RFFT2D makes its tables of sines anew for each window and computes in
double precision, one window after the other: a third of the time of an int8
model. The matrix products of the same transform are done by the same kernels as
the model's own.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lingvo_lite.audio.log_mel import (
  LogMel,
  LogMelConfig,
  cut_bands,
  mel_matrix,
)


class MatrixLogMel(LogMel):
  """For `LogMel`: the same features but for the rounding.

  The transform of N = A B samples in two steps (Cooley and Tukey 1965): with
  n = A j + r and k = l + B m,

    X[k] = sum_r exp(-2 pi i r m / A) exp(-2 pi i r l / N) Y[r, l],
    Y[r, l] = sum_j exp(-2 pi i j l / B) x[A j + r].

  Zeros behind the window and frequencies beyond the mel scale are left out, and
  so is every l above B / 2: of real samples X[N - k] is the conjugate of X[k],
  so the magnitudes between are found at other k. They come in runs of k that
  rise and of k that fall; `bands` are cut for that order.
  """

  def __init__(
    self, config: LogMelConfig = LogMelConfig(), **kwargs: Any
  ) -> None:
    """As `LogMel`."""
    super().__init__(config, **kwargs)
    size = config.fft_samples
    self._inner = _divisor_below_root(size)
    self._outer = size // self._inner
    self._half = self._outer // 2 + 1
    # The mel scale has no weight at the highest frequency of all, N / 2.
    used = max(last for _, last, _ in self.bands)
    self._columns: list[int] = []
    order = []
    lowest = np.arange(self._half)
    for column in range(-(-used // self._outer)):
      start = column * self._outer
      self._columns.append(column)
      order.append(start + lowest)
      if self._half < self._outer and start + self._half < used:
        self._columns.append(self._inner - 1 - column)
        order.append(start + self._outer - lowest)
    self.bands = cut_bands(_in_order(mel_matrix(config), np.concatenate(order)))

  def magnitudes(self, windows: tf.Tensor) -> tf.Tensor:
    """As `LogMel.magnitudes`, in the order that `bands` are cut for."""
    size, window = self.config.fft_samples, self.config.window_samples
    inner, outer, half = self._inner, self._outer, self._half
    rows = -(-window // inner)
    if rows * inner > window:
      windows = tf.pad(windows, [[0, 0], [0, rows * inner - window]])

    first = _phases(range(rows), range(half), outer)
    samples = tf.transpose(tf.reshape(windows, [-1, rows, inner]), [0, 2, 1])
    both = np.concatenate([first.real, first.imag], 1)
    found = tf.matmul(tf.reshape(samples, [-1, rows]), both)
    found = tf.transpose(tf.reshape(found, [-1, inner, 2 * half]), [0, 2, 1])
    real, imaginary = tf.split(found, 2, 1)

    turn = _phases(range(half), range(inner), size)
    turned = tf.concat(
      [
        real * turn.real - imaginary * turn.imag,
        imaginary * turn.real + real * turn.imag,
      ],
      2,
    )

    second = _phases(range(inner), self._columns, inner)
    turned = tf.reshape(turned, [-1, 2 * inner])
    real = tf.matmul(turned, np.concatenate([second.real, -second.imag]))
    imaginary = tf.matmul(turned, np.concatenate([second.imag, second.real]))
    power = tf.square(real) + tf.square(imaginary)
    columns = len(self._columns)
    found = tf.reshape(tf.sqrt(power), [-1, half, columns])
    return tf.reshape(tf.transpose(found, [0, 2, 1]), [-1, columns * half])


def _divisor_below_root(number: int) -> int:
  """Returns the largest divisor up to the square root: 16 of 512."""
  return next(d for d in range(math.isqrt(number), 0, -1) if number % d == 0)


def _in_order(matrix: np.ndarray, order: np.ndarray) -> np.ndarray:
  """Returns rows of a mel matrix, each where it comes first, else zeros."""
  found = np.zeros([len(order), matrix.shape[1]], np.float32)
  rows, places = np.unique(order, return_index=True)
  inside = rows < len(matrix)
  found[places[inside]] = matrix[rows[inside]]
  return found


def _phases(
  rows: Sequence[int], columns: Sequence[int], period: int
) -> np.ndarray:
  """Returns exp(-2 pi i r c / period), complex64[rows, columns]."""
  products = np.outer(rows, columns) % period
  return np.exp(-2j * np.pi * products / period).astype(np.complex64)

"""How the block-sparse kernel compares with the dense one, by width.

A recogniser's time is more than its matrices. Here there is nothing else: pairs
of matrices d -> 4d -> d, as in a Conformer's feed-forward modules, over the
frames of 2.56 s of sound. Weights are drawn, not trained; kernels do not mind.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm
from ai_edge_litert import interpreter as litert

from lingvo_lite.dynamic_sparsity.block_masks import block_ranks, kept_blocks
from lingvo_lite.dynamic_sparsity.dynamic_model import DynamicModel
from lingvo_lite.dynamic_sparsity.levels import SparsityLevels
from lingvo_lite.stage.errors import InputError
from tflite_export.dynamic_sparsity.kernel_check import check_kernels
from tflite_export.dynamic_sparsity.levels_file import expand_levels
from tflite_export.flatbuffer import read_flatbuffer, write_flatbuffer
from tflite_export.interpreter import (
  SIGNATURE,
  load_interpreter,
  signature_runner,
)
from tflite_export.quiet import quiet_standard_error

WIDTHS = (128, 256, 512)
_LEVELS = SparsityLevels((0.0, 0.8))
_FRAMES, _PAIRS, _EXPANSION = 64, 6, 4
_TURNS = 60


def kernel_rows(widths: Sequence[int] = WIDTHS) -> list[dict[str, Any]]:
  """Times dense int8 and 80% block-sparse int8, one thread, in turns.

  Args:
    widths: d of the stacks; the block of 16 divides them.

  Returns:
    A row a width, with the median processor time of each and their ratio.

  Raises:
    InputError: another kernel ran than the one that is to be timed.
  """
  rows = []
  inputs = np.random.default_rng(0)
  for width in tqdm.tqdm(widths, desc="block-sparse kernel", unit="width"):
    dense, sparse = (_load(contents) for contents in _files(width))
    frames = inputs.normal(size=[_FRAMES, width]).astype(np.float32)
    times_ms: tuple[list[float], list[float]] = ([], [])
    for turn in range(_TURNS + 1):
      for (_, runner), times in zip((dense, sparse), times_ms, strict=True):
        # Of the processor: a busy machine interrupts only long runs.
        started = time.thread_time()
        runner(frames=frames)
        # The first turn prepares.
        if turn:
          times.append(1000 * (time.thread_time() - started))
    dense_ms, sparse_ms = (statistics.median(times) for times in times_ms)
    rows.append(
      {
        "kind": "kernel",
        "width": width,
        "frames": _FRAMES,
        "matrices": 2 * _PAIRS,
        "sparsity": _LEVELS.sparsities[-1],
        "dense_ms": round(dense_ms, 3),
        "block_sparse_ms": round(sparse_ms, 3),
        "ratio": round(sparse_ms / dense_ms, 3),
      }
    )
  return rows


def _files(width: int) -> tuple[bytes, bytes]:
  """Returns the .tflite files of a stack: dense int8 and block-sparse int8."""
  tf.keras.utils.set_random_seed(width)
  sound = tf.keras.Input(batch_shape=[_FRAMES, width])
  hidden = sound
  for pair in range(_PAIRS):
    hidden = tf.keras.layers.Dense(
      _EXPANSION * width, "relu", name=f"expand_{pair}"
    )(hidden)
    hidden = tf.keras.layers.Dense(width, name=f"contract_{pair}")(hidden)
  model = tf.keras.Model(sound, hidden)
  kept = {}
  for layer in model.layers[1:]:
    ranks = block_ranks(layer.kernel, _LEVELS.block)
    kept[layer.name] = sum(
      kept_blocks(ranks, tf.constant(sparsity)).numpy().astype(np.uint8)
      for sparsity in _LEVELS.sparsities
    )
  dynamic = DynamicModel(model, _LEVELS, kept, {})
  base = read_flatbuffer(_convert(model))
  dense, sparse = (
    write_flatbuffer(expand_levels(base, dynamic, {SIGNATURE: sparsity}))
    for sparsity in _LEVELS.sparsities
  )
  found = check_kernels(dense), check_kernels(sparse)
  if (found[0].delegated_dense, found[1].block_sparse) != (2 * _PAIRS,) * 2:
    raise InputError(
      f"found the kernels {found}, expected {2 * _PAIRS} matrices for each: is"
      " this another release of LiteRT?"
    )
  return dense, sparse


def _convert(model: tf.keras.Model) -> bytes:
  """Returns the float32 .tflite file of a stack."""
  module = tf.Module()
  module.model = model
  frames = tf.TensorSpec(model.input_shape, tf.float32, "frames")
  run = tf.function(lambda frames: {"out": model(frames)}, [frames])
  with tempfile.TemporaryDirectory() as folder, quiet_standard_error():
    tf.saved_model.save(
      module, folder, signatures={SIGNATURE: run.get_concrete_function()}
    )
    converter = tf.lite.TFLiteConverter.from_saved_model(
      folder, signature_keys=[SIGNATURE]
    )
    return converter.convert()


def _load(
  contents: bytes,
) -> tuple[litert.Interpreter, litert.SignatureRunner]:
  """Returns a loaded file, and how to call it."""
  loaded = load_interpreter(contents, 1)
  # A runner does not keep its interpreter alive.
  return loaded, signature_runner(loaded, SIGNATURE, ["frames"], ["out"])

"""A small model out of the exporter, for what changes it."""

import os
import tempfile

import numpy as np

from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from tflite_export.compress import compress
from tflite_export.export import export
from tflite_export.recipes import RECIPES

_CONFIG = ConformerConfig(
  num_blocks=1,
  d_model=16,
  ffn_units=32,
  num_heads=2,
  conv_kernel_size=5,
  subsampling_channels=4,
  norm_groups=2,
  causal=True,
  left_context_frames=3,
  chunk_frames=2,
)


def exported_file() -> bytes:
  """Returns a file with all operations of a streaming int8 model, 90 kB."""
  noise = np.random.default_rng(0).normal(0, 0.1, 20_000).astype(np.float32)
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "model.tflite")
    compressed = compress(build_ctc_model(_CONFIG), RECIPES["int8"], list)
    export(compressed, _CONFIG, [noise], "noise", path)
    with open(path, "rb") as file:
      return file.read()

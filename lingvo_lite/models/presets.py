"""The model sizes that have a name."""

from lingvo_lite.models.conformer_config import ConformerConfig


def _conformer(blocks, width, heads, kernel=31, channels=None, **kwargs):
  return ConformerConfig(
    num_blocks=blocks,
    d_model=width,
    ffn_units=4 * width,
    num_heads=heads,
    conv_kernel_size=kernel,
    subsampling_channels=channels or width,
    **kwargs,
  )


# small, medium and large: Gulati et al. 2020, "Conformer", table 1 (10.3 M,
# 30.7 M and 118.8 M parameters there, with an LSTM decoder where CTC has one
# matrix). The paper's kernel of 32 is even; 31 keeps a frame in the middle.
PRESETS: dict[str, ConformerConfig] = {
  "tiny": _conformer(4, 128, 4, kernel=15, channels=32, norm_groups=8),
  # Twice the blocks: does what holds of the layers of `tiny` hold of more?
  "tiny_deep": _conformer(8, 128, 4, kernel=15, channels=32, norm_groups=8),
  # Chunks of 320 ms; attention looks 1.28 s back in each block.
  "tiny_streaming": _conformer(
    4,
    128,
    4,
    kernel=15,
    channels=32,
    norm_groups=8,
    causal=True,
    left_context_frames=32,
    chunk_frames=8,
  ),
  "small": _conformer(16, 144, 4, norm_groups=9),
  "medium": _conformer(16, 256, 4, norm_groups=16),
  "large": _conformer(17, 512, 8, norm_groups=32),
}

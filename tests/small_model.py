"""A model that trains in seconds, for tests of whole programs."""

from lingvo_lite.models.conformer_config import ConformerConfig

SMALL_MODEL = ConformerConfig(
  num_blocks=1,
  d_model=32,
  ffn_units=64,
  num_heads=2,
  conv_kernel_size=5,
  subsampling_channels=4,
  norm_groups=4,
)

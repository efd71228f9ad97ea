"""The grid of `lingvo_lite`, under the name that this stage has for it."""

from lingvo_lite.quantization.grid import (
  Grid,
  channel_axis,
  find_grid,
  search_clips,
  short_floats,
)

__all__ = [
  "Grid",
  "channel_axis",
  "find_grid",
  "search_clips",
  "short_floats",
]

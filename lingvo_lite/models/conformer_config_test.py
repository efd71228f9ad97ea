"""Tests of the model configuration."""

import dataclasses
import json

from absl.testing import absltest, parameterized

from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.presets import PRESETS
from lingvo_lite.stage.errors import InputError

_TINY = PRESETS["tiny"]


class ConformerConfigTest(parameterized.TestCase):
  def test_survives_json(self):
    config = _TINY.with_widths({"block_01/conv": 3, "block_00/attention": 2})
    again = ConformerConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    self.assertEqual(again, config)

  def test_keep_rates(self):
    config = _TINY.with_widths({"block_01/conv": 2, "block_02/ffn_end": 128})
    self.assertEqual(config.keep_rate("block_01/conv"), 0.25)
    self.assertEqual(config.keep_rate("block_02/ffn_end"), 0.25)
    self.assertEqual(config.keep_rate("block_02/ffn_start"), 1.0)

  @parameterized.parameters(
    (dict(norm="instance"), "'instance'"),
    (dict(num_heads=5), "num_heads 5"),
    (dict(norm_groups=7), "norm_groups 7"),
    (dict(conv_kernel_size=4), "conv_kernel_size 4"),
    (dict(dropout_rate=1.0), "dropout_rate 1.0"),
    (dict(left_context_frames=-1), "left_context_frames -1"),
    (dict(chunk_frames=0), "chunk_frames 0"),
    (dict(widths=(("block_09/conv", 1),)), "another model"),
    (dict(widths=(("block_00/conv", 0),)), "0 units"),
    (dict(widths=(("block_00/conv", 9),)), "expected 1 to 8"),
  )
  def test_bad_values_are_refused(self, change, words):
    with self.assertRaisesRegex(InputError, words):
      dataclasses.replace(_TINY, **change)

  def test_values_of_another_release_are_refused(self):
    for values in ({"num_blocks": 4}, {**_TINY.to_dict(), "experts": 8}):
      with self.assertRaisesRegex(InputError, "make the model again"):
        ConformerConfig.from_dict(values)


if __name__ == "__main__":
  absltest.main()

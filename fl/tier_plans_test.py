"""What tiers' sub-models cost, by hand, and plans of other models."""

import os

from absl.testing import absltest

from fl.dropout.plan import plan_of
from fl.dropout.sub_model import variable_specs
from fl.dropout.tier_file import DeviceTier
from fl.tier_plans import keep_rates, mean_sizes, read_plan
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.unit_groups import unit_groups
from lingvo_lite.stage.errors import InputError

_MODEL = ConformerConfig(
  num_blocks=1,
  d_model=32,
  ffn_units=64,
  num_heads=2,
  conv_kernel_size=5,
  subsampling_channels=4,
  norm_groups=4,
)


def _size(cohort, params):
  return {
    "name": f"of {params}",
    "clients": 10,
    "cohort": cohort,
    "client_params": params,
    "download_bytes_per_client": 4 * params + 4,
    "upload_bytes_per_client": 4 * params + 16,
  }


class TierPlansTest(absltest.TestCase):
  def test_means_are_over_a_rounds_clients(self):
    # Of three clients two have 100, one 400.
    self.assertEqual(
      mean_sizes([_size(2, 100), _size(1, 400)]),
      {
        "client_params": 200,
        "download_bytes_per_client": 804,
        "upload_bytes_per_client": 816,
      },
    )
    self.assertEqual(mean_sizes([_size(3, 7)])["client_params"], 7)

  def test_plans_are_of_the_model_or_whole(self):
    specs = variable_specs(build_ctc_model(_MODEL))
    groups = unit_groups(_MODEL)
    path = os.path.join(self.create_tempdir().full_path, "plan.json")
    half = {group.name: group.units // 2 for group in groups}
    plan_of(_MODEL.to_dict(), specs, groups, half, "half").write(path)
    tiers = [DeviceTier("phone", 1, share=0.5),
             DeviceTier("watch", 1, path, share=0.5)]  # fmt: skip
    plans = [read_plan(tier, _MODEL, specs, groups) for tier in tiers]
    self.assertTrue(plans[0].is_whole)
    self.assertEqual(
      keep_rates(tiers, plans),
      {
        "phone": {group.name: 1.0 for group in groups},
        "watch": {group.name: 0.5 for group in groups},
      },
    )
    other = _MODEL.with_widths({"block_00/conv": 3})
    with self.assertRaisesRegex(InputError, "plan for a model with"):
      read_plan(tiers[1], other, specs, groups)


if __name__ == "__main__":
  absltest.main()

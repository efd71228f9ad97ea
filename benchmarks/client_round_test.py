"""What a client's round costs, measured on a model of a few weights."""

import dataclasses

import numpy as np
from absl.testing import absltest

from benchmarks.client_round import measure_client_rounds
from fl.data.client_data import ClientData
from fl.dropout.plan import plan_of
from fl.dropout.sub_model import flatten, variable_specs
from lingvo_lite.data.examples import Example
from lingvo_lite.data.utterance import Utterance
from lingvo_lite.models.conformer_config import ConformerConfig
from lingvo_lite.models.ctc_model import build_ctc_model
from lingvo_lite.models.unit_groups import unit_groups

_MODEL = ConformerConfig(
  num_blocks=1,
  d_model=16,
  ffn_units=32,
  num_heads=2,
  conv_kernel_size=3,
  subsampling_channels=2,
  norm_groups=2,
)


class ClientRoundTest(absltest.TestCase):
  def test_bytes_are_those_of_the_plan(self):
    model = build_ctc_model(_MODEL)
    specs, groups = variable_specs(model), unit_groups(_MODEL)
    plans = [
      plan_of(_MODEL.to_dict(), specs, groups, kept, strategy)
      for kept, strategy in (
        ({}, "uniform"),
        ({"block_00/ffn_start": 8, "block_00/attention": 1}, "ranked"),
      )
    ]
    # Nothing here is read off the plan itself.
    wrong = dataclasses.replace(plans[1], download_bytes_per_client=1)
    draw = np.random.default_rng(0)
    examples = [
      Example(
        Utterance(f"{speaker}-2-{number}", str(speaker), "2", "", "A"),
        draw.normal(size=[40, 80]).astype(np.float32),
        np.array([1, 2, 3], np.int32),
      )
      for speaker in range(2)
      for number in range(2)
    ]
    rows = measure_client_rounds(
      _MODEL,
      specs,
      flatten(model.trainable_variables).numpy(),
      [*plans, wrong],
      ClientData(examples, 2, 1, None, 0),
      range(2),
      repeats=1,
    )
    for row, plan in zip(rows[:2], plans, strict=True):
      self.assertEqual(row["strategy"], plan.strategy)
      self.assertEqual(row["download_bytes"], [plan.download_bytes_per_client])
      self.assertEqual(row["upload_bytes"], [plan.upload_bytes_per_client])
      self.assertGreater(row["cpu_seconds"], 0)
    self.assertNotEqual(rows[0]["download_bytes"], rows[1]["download_bytes"])
    self.assertEqual(rows[2]["download_bytes"], rows[1]["download_bytes"])
    self.assertEqual(rows[2]["predicted_download_bytes"], 1)


if __name__ == "__main__":
  absltest.main()

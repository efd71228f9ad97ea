"""Churn by hand, and rankings that agree or not."""

import numpy as np
from absl.testing import absltest, parameterized

from fl.dropout.sub_model import VariableSpec
from fl.importance.agreement import kendall_tau, overlap_at, rank_correlation
from fl.importance.churn import Churn, mean_churn
from fl.importance.probes import Part
from lingvo_lite.stage.errors import InputError

_SPECS = (
  VariableSpec("a/x/kernel:0", (1, 2)),
  VariableSpec("a/x/bias:0", (1,)),
  VariableSpec("a/y/kernel:0", (2,)),
  VariableSpec("out/kernel:0", (1,)),
)
_PARTS = [
  Part("a/x", "group", ("a/x",)),
  Part("a/y", "group", ("a/y",)),
  Part("a", "block", ("a",)),
]


class ChurnTest(parameterized.TestCase):
  def test_by_hand(self):
    churn = Churn(_SPECS, _PARTS)
    before = np.array([2, 0, 0, 3, 4, 9], np.float32)
    after = np.array([2, 3, 4, 3, 4.5, 0], np.float32)
    relative = churn.relative(before, after)
    self.assertAlmostEqual(relative["a/x"], 5 / 2)
    self.assertAlmostEqual(relative["a/y"], 0.5 / 5)
    self.assertAlmostEqual(relative["a"], np.sqrt(25.25 / 29))
    distance = churn.distance(before, after)
    self.assertAlmostEqual(distance["a/x"], 5 / np.sqrt(3))
    self.assertAlmostEqual(distance["a/y"], 0.5 / np.sqrt(2))
    self.assertEqual(
      mean_churn([{"a": 1.0, "b": 0.0}, {"a": 2.0, "b": 0.5}]),
      {"a": 1.5, "b": 0.25},
    )

  def test_rankings_that_agree_oppose_and_are_unrelated(self):
    names = [f"part_{index}" for index in range(12)]
    up = {name: float(index) for index, name in enumerate(names)}
    # The order counts, not the values.
    curved = {name: value**3 for name, value in up.items()}
    down = {name: -value for name, value in up.items()}
    same = rank_correlation(up, curved, seed=0)
    self.assertAlmostEqual(same.rho, 1)
    self.assertAlmostEqual(same.low, 1)
    self.assertAlmostEqual(rank_correlation(up, down, seed=0).rho, -1)
    draw = np.random.default_rng(0)
    unrelated = dict(zip(names, draw.normal(size=12), strict=True))
    found = rank_correlation(up, unrelated, seed=0)
    self.assertLess(found.low, 0)
    self.assertGreater(found.high, 0)
    self.assertBetween(found.rho, found.low, found.high)
    self.assertAlmostEqual(kendall_tau(up, down), -1)

  def test_agreement_by_hand(self):
    one = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    other = {"a": 1.0, "b": 3.0, "c": 2.0, "d": 4.0}
    # One of six pairs is the other way round.
    self.assertAlmostEqual(kendall_tau(one, other), 4 / 6)
    self.assertAlmostEqual(rank_correlation(one, other, 0).rho, 1 - 6 * 2 / 60)
    self.assertEqual(overlap_at(2, one, other), 0.5)
    self.assertEqual(overlap_at(3, one, other), 1.0)

  def test_a_constant_ranks_nothing(self):
    flat, up = {"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 1.0, "b": 2.0, "c": 3.0}
    self.assertIsNone(rank_correlation(flat, up, 0))
    self.assertIsNone(kendall_tau(up, flat))

  @parameterized.parameters(
    ({"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 1.0, "b": 2.0, "d": 3.0}),
    ({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.0}),
  )
  def test_what_cannot_be_ranked_is_refused(self, one, other):
    with self.assertRaises(InputError):
      rank_correlation(one, other, 0)


if __name__ == "__main__":
  absltest.main()

"""The model of round time."""

import itertools

import numpy as np
from absl.testing import absltest

from benchmarks.round_time import RoundTime


class RoundTimeTest(absltest.TestCase):
  def test_a_round_by_hand(self):
    # 7 clients on 2 workers: one of them has 4.
    self.assertAlmostEqual(RoundTime(1.0, 0.1, 2.0).predict(7, 2), 9.7)

  def test_finds_the_times_that_made_the_rounds(self):
    truth = RoundTime(0.5, 0.02, 0.8)
    measured = list(itertools.product((4, 16, 64), (1, 2)))
    found = RoundTime.fit(
      [c for c, _ in measured],
      [w for _, w in measured],
      [truth.predict(c, w) for c, w in measured],
    )
    np.testing.assert_allclose(
      (found.fixed_s, found.each_s, found.client_s), (0.5, 0.02, 0.8), rtol=1e-6
    )

  def test_no_time_is_negative(self):
    # A longer round with less to do: nothing but the fixed time explains it.
    found = RoundTime.fit([4, 16], [1, 1], [2.0, 1.0])
    self.assertGreaterEqual(
      min(found.fixed_s, found.each_s, found.client_s), 0.0
    )


if __name__ == "__main__":
  absltest.main()

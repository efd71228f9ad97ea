"""Cohorts: repeatable, and distributed as they say."""

import numpy as np
from absl.testing import absltest, parameterized

from fl.data.cohorts import SAMPLINGS, CohortSampler
from lingvo_lite.stage.errors import InputError

_UTTERANCES = (1, 1, 2, 2, 4, 4, 4, 6, 8, 8)


def _sampler(sampling="uniform", cohort=4, seed=1):
  return CohortSampler(_UTTERANCES, cohort, seed, sampling)


class CohortSamplerTest(parameterized.TestCase):
  @parameterized.parameters(*SAMPLINGS)
  def test_depends_on_seed_round_and_attempt_alone(self, sampling):
    cohorts = [_sampler(sampling).draw(number) for number in range(50)]
    again = _sampler(sampling)
    self.assertEqual(again.draw(7), cohorts[7])
    self.assertGreater(len({tuple(cohort) for cohort in cohorts}), 20)
    other_seed = [_sampler(sampling, seed=2).draw(n) for n in range(50)]
    second_try = [_sampler(sampling).draw(n, attempt=1) for n in range(50)]
    self.assertNotEqual(cohorts, other_seed)
    self.assertNotEqual(cohorts, second_try)

  @parameterized.parameters("uniform", "by_utterances")
  def test_draws_distinct_clients(self, sampling):
    for number in range(50):
      self.assertLen(set(_sampler(sampling).draw(number)), 4)

  def test_with_replacement_may_draw_one_twice(self):
    cohorts = [_sampler("with_replacement").draw(n) for n in range(50)]
    self.assertEqual({len(cohort) for cohort in cohorts}, {4})
    # All four distinct: 10 * 9 * 8 * 7 / 10^4, about half.
    distinct = np.mean([len(set(cohort)) == 4 for cohort in cohorts])
    self.assertBetween(distinct, 0.3, 0.7)

  def test_poisson_flips_a_coin_for_each_client(self):
    drawn = np.zeros([2000, 10], bool)
    for number, row in enumerate(drawn):
      row[_sampler("poisson").draw(number)] = True
    # Standard deviation of a mean of 2000 coins: 0.011.
    np.testing.assert_allclose(drawn.mean(0), 0.4, atol=0.05)
    # Independent: the variance of the size is n p (1 - p) = 2.4.
    self.assertAlmostEqual(drawn.sum(1).var(), 2.4, delta=0.4)

  def test_by_utterances_prefers_those_who_speak_more(self):
    counts = np.zeros(10)
    for number in range(500):
      counts[_sampler("by_utterances", cohort=1).draw(number)] += 1
    np.testing.assert_allclose(
      counts / 500, np.array(_UTTERANCES) / 40, atol=0.07
    )

  @parameterized.parameters(0, 11)
  def test_a_cohort_of_the_wrong_size_is_refused(self, cohort):
    with self.assertRaisesRegex(InputError, "expected 1 to the 10 clients"):
      _sampler(cohort=cohort)

  def test_an_unknown_sampling_is_refused(self):
    with self.assertRaisesRegex(InputError, "--cohort_sampling=fair"):
      _sampler("fair")


if __name__ == "__main__":
  absltest.main()

"""Cohorts: repeatable, and distributed as they say."""

import numpy as np
from absl.testing import absltest, parameterized

from fl.data.cohorts import SAMPLINGS, CohortSampler, tiered_sampler
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


class TieredSamplerTest(parameterized.TestCase):
  @parameterized.parameters(*SAMPLINGS)
  def test_one_tier_draws_what_a_sampler_without_tiers_does(self, sampling):
    tiered = tiered_sampler(_UTTERANCES, (0,) * 10, [4], 1, sampling)
    plain = _sampler(sampling)
    for number, attempt in ((0, 0), (7, 0), (7, 1)):
      self.assertEqual(
        tiered.draw(number, attempt), plain.draw(number, attempt)
      )

  def test_draws_so_many_of_each_tier(self):
    of_client = (1, 0, 1, 0, 2, 1, 1, 0, 1, 1)
    sampler = tiered_sampler(_UTTERANCES, of_client, [2, 3, 1], 1, "uniform")
    counts = np.zeros(10)
    for number in range(600):
      cohort = sampler.draw(number)
      self.assertEqual(
        sorted(of_client[client] for client in cohort), [0, 0, 1, 1, 1, 2]
      )
      self.assertEqual(cohort, sorted(set(cohort)))
      counts[cohort] += 1
    # Of three clients two, of six three, of one that one. Standard deviation of
    # a mean of 600 coins: 0.02.
    chances = np.array([2 / 3, 1 / 2, 1])[list(of_client)]
    np.testing.assert_allclose(counts / 600, chances, atol=0.07)

  def test_tiers_draw_independently(self):
    of_client = (0,) * 5 + (1,) * 5
    sampler = tiered_sampler((1,) * 10, of_client, [1, 1], 1, "uniform")
    same = np.mean(
      [np.diff(sampler.draw(number))[0] == 5 for number in range(500)]
    )
    # One in five by chance; always, were the draws the same.
    self.assertBetween(same, 0.1, 0.3)

  def test_a_tier_with_fewer_clients_than_its_cohort_is_refused(self):
    with self.assertRaisesRegex(InputError, "expected 1 to the 1 clients"):
      tiered_sampler((1, 1, 1), (0, 0, 1), [1, 2], 1, "uniform")


if __name__ == "__main__":
  absltest.main()

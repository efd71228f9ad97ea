"""Epsilon against formulas worked out by hand."""

import math

import numpy as np
from absl.testing import absltest, parameterized
from scipy import integrate, optimize, stats

from fl.privacy.ledger import PrivacyLedger
from fl.privacy.privacy_config import PrivacyConfig
from lingvo_lite.stage.errors import InputError

_DELTA = 1e-5


def _ledger(mechanism="gaussian", z=1.0, q=None):
  return PrivacyLedger(PrivacyConfig(mechanism, z, 0.1, _DELTA), q)


def _of_renyi(divergence):
  """Epsilon of a Renyi divergence D(order): Canonne et al. 2020, prop. 12."""

  def epsilon(order):
    return (
      divergence(order)
      + math.log1p(-1 / order)
      - math.log(_DELTA * order) / (order - 1)
    )

  return optimize.minimize_scalar(
    epsilon, bounds=(1.01, 500), method="bounded"
  ).fun


def _exact_gaussian(z, count):
  """The smallest epsilon of `count` Gaussians: Balle and Wang 2018, thm 8."""
  mu = math.sqrt(count) / z

  def excess(epsilon):
    a, b = mu / 2 - epsilon / mu, -mu / 2 - epsilon / mu
    delta = stats.norm.cdf(a) - math.exp(epsilon) * stats.norm.cdf(b)
    return delta - _DELTA

  return optimize.brentq(excess, 0, 200)


class PrivacyLedgerTest(parameterized.TestCase):
  @parameterized.parameters((1.0, 1), (0.7, 10), (4.0, 100))
  def test_full_participation_is_a_composition_of_gaussians(self, z, rounds):
    # D(order) = order / (2 z^2), and it adds up.
    expected = _of_renyi(lambda order: rounds * order / (2 * z * z))
    found = _ledger(z=z).epsilon(rounds, np.full(5, rounds))
    self.assertAlmostEqual(found, expected, delta=0.02 * expected)
    self.assertGreaterEqual(found, _exact_gaussian(z, rounds))

  def test_the_client_that_took_part_most_often_sets_epsilon(self):
    ledger = _ledger()
    self.assertEqual(
      ledger.epsilon(40, np.array([0, 3, 7, 1])),
      ledger.epsilon(7, np.array([7])),
    )

  def test_poisson_sampling_amplifies(self):
    q, z, rounds = 0.05, 1.0, 100

    # D(order) of q N(1, z^2) + (1 - q) N(0, z^2) from N(0, z^2), by numerical
    # integration.
    def divergence(order):
      def density(x):
        log_ratio = math.log(1 - q + q * math.exp((2 * x - 1) / (2 * z * z)))
        return math.exp(stats.norm.logpdf(x, scale=z) + order * log_ratio)

      value, _ = integrate.quad(density, -30, 60, limit=500)
      return rounds * math.log(value) / (order - 1)

    expected = min(
      divergence(order)
      + math.log1p(-1 / order)
      - math.log(_DELTA * order) / (order - 1)
      for order in np.arange(2, 20, 0.5)
    )
    found = _ledger(z=z, q=q).epsilon(rounds, np.full(5, rounds))
    self.assertAlmostEqual(found, expected, delta=0.05 * expected)
    without = _ledger(z=z).epsilon(rounds, np.full(5, rounds))
    self.assertLess(found, without / 5)

  def test_poisson_charges_rounds_and_not_who_took_part(self):
    ledger = _ledger(q=0.1)
    expected = ledger.epsilon(3, np.array([3, 0]))
    self.assertGreater(expected, 0)
    for participations in ([0, 0], [1, 2]):
      self.assertEqual(ledger.epsilon(3, np.array(participations)), expected)

  def test_a_client_twice_in_a_round_would_cost_more_than_is_charged(self):
    # It moves the round's sum by 2 C: one Gaussian of multiplier z / 2, that is
    # mu = 2 / z. Two participations are charged as mu = sqrt(2) / z.
    honest = _exact_gaussian(0.5, 1)
    self.assertGreater(honest, _ledger().epsilon(1, np.array([2])))
    self.assertAlmostEqual(honest, _exact_gaussian(1.0, 4))
    # The charge of a tree takes any two participations for that.
    tree = _ledger("tree").epsilon(1, np.array([2]))
    self.assertGreaterEqual(tree, honest)
    PrivacyConfig("tree").check_rounds("with_replacement", 0)

  def test_a_cohort_that_is_drawn_until_somebody_comes_is_not_amplified(self):
    # One client, drawn until its coin shows heads: it is in every round. With
    # the charge for a coin of its own each time, epsilon would be far too low.
    q, rounds = 0.05, 10
    honest = _exact_gaussian(1.0, rounds)
    charged = _ledger(q=q).epsilon(rounds, np.array([rounds]))
    self.assertGreater(honest, 4 * charged)

  @parameterized.parameters(
    ("gaussian", "with_replacement", 0, "twice the clipping norm"),
    ("adaptive_gaussian", "with_replacement", 0, "twice the clipping norm"),
    ("gaussian", "by_utterances", 0, "who else is drawn"),
    ("tree", "by_utterances", 0, "who else is drawn"),
    ("gaussian", "poisson", 1, "no Poisson samples"),
    ("tree", "uniform", 3, "--min_clients=3.*turned down"),
    ("none", "uniform", 0, "--min_clients=0 without --privacy"),
  )
  def test_rounds_that_it_does_not_charge_for_are_refused(
    self, mechanism, sampling, min_clients, why
  ):
    with self.assertRaisesRegex(InputError, why):
      PrivacyConfig(mechanism).check_rounds(sampling, min_clients)

  @parameterized.parameters(
    ("gaussian", "uniform", 0), ("adaptive_gaussian", "poisson", 0),
    ("none", "by_utterances", 1), ("none", "with_replacement", 4),
  )  # fmt: skip
  def test_other_rounds_are_taken(self, mechanism, sampling, min_clients):
    PrivacyConfig(mechanism).check_rounds(sampling, min_clients)

  def test_a_tree_charges_its_height_and_participation(self):
    # A leaf of a tree over 8 rounds lies below 4 nodes (Kairouz et al. 2021,
    # theorem B.1): D(order) = order * 4 / (2 z^2). Twice: double sensitivity.
    for most, z in ((1, 2.0), (2, 4.0)):
      expected = _of_renyi(lambda order: order * 4 / (2 * 2.0 * 2.0))
      found = _ledger("tree", z).epsilon(8, np.array([1, most]))
      self.assertAlmostEqual(found, expected, delta=0.02 * expected)

  def test_epsilon_only_grows_and_begins_at_zero(self):
    for ledger in (_ledger(), _ledger(q=0.1), _ledger("tree")):
      spent = [ledger.epsilon(n, np.full(3, n)) for n in (0, 1, 2, 5, 20)]
      self.assertEqual(spent[0], 0.0)
      self.assertEqual(spent, sorted(spent))
      self.assertGreater(spent[-1], spent[1])

  @parameterized.parameters(
    ("mechanism", "laplace", "--privacy=laplace"),
    ("noise_multiplier", 0.0, "--noise_multiplier=0.0"),
    ("clip_norm", -1.0, "--privacy_clip_norm=-1.0"),
    ("delta", 1.0, "--privacy_delta=1.0"),
  )
  def test_settings_out_of_range_are_refused(self, name, value, flag):
    with self.assertRaisesRegex(InputError, flag):
      PrivacyConfig(**{name: value})


if __name__ == "__main__":
  absltest.main()

"""Prefix beam search against all paths, and phrases by hand."""

import itertools
import math

import numpy as np
from absl.testing import absltest

from lingvo_lite.decoding.phrase_bias import BiasState, PhraseBias
from lingvo_lite.decoding.prefix_beam import BeamConfig, PrefixBeam
from lingvo_lite.decoding.words import log_softmax
from lingvo_lite.stage.errors import InputError

_CHARACTERS = (" ", "A", "B")
_BLANK = 3
_EVERYTHING = BeamConfig(
  width=10_000, n_best=10_000, least_log_probability=-math.inf
)


def _log_probs(frames, seed, scale=1.0):
  rng = np.random.default_rng(seed)
  return log_softmax(rng.normal(0, scale, [frames, len(_CHARACTERS) + 1]))


def _by_all_paths(log_probs, bias=None):
  """Sums the probabilities of all paths of each reading."""
  sums = {}
  for path in itertools.product(range(4), repeat=len(log_probs)):
    reading = tuple(
      label for label, _ in itertools.groupby(path) if label != _BLANK
    )
    score = log_probs[range(len(path)), list(path)].sum()
    sums[reading] = np.logaddexp(sums.get(reading, -np.inf), score)
  if bias is not None:
    sums = {
      reading: score + _bonus(bias, reading) for reading, score in sums.items()
    }
  return sums


def _bonus(bias, labels):
  state = BiasState()
  for label in labels:
    state = bias.advance(state, label)
  return bias.finish(state)


def _ids(text):
  return [_CHARACTERS.index(character) for character in text]


class PrefixBeamTest(absltest.TestCase):
  def test_a_wide_beam_finds_what_all_paths_say(self):
    bias = PhraseBias(["a b", "ba"], _CHARACTERS, 1.5)
    for seed in range(12):
      log_probs = _log_probs(5, seed)
      for use in (None, bias):
        search = PrefixBeam(_EVERYTHING, _BLANK, use)
        search.advance(log_probs)
        found = {one.labels: one.score for one in search.best()}
        expected = _by_all_paths(log_probs, use)
        self.assertEqual(found.keys(), expected.keys())
        for reading, score in expected.items():
          self.assertAlmostEqual(found[reading], score, places=9)

  def test_best_comes_first_and_chunks_do_not_matter(self):
    config = BeamConfig(width=8, n_best=4)
    log_probs = _log_probs(60, 3, scale=3.0)
    whole = PrefixBeam(config, _BLANK)
    whole.advance(log_probs)
    pieces = PrefixBeam(config, _BLANK)
    for start in range(0, 60, 7):
      pieces.advance(log_probs[start : start + 7])
    self.assertEqual(whole.best(), pieces.best())
    scores = [one.score for one in whole.best()]
    self.assertEqual(scores, sorted(scores, reverse=True))
    self.assertLen(scores, 4)

  def test_a_beam_sums_what_greedy_overlooks(self):
    # Graves 2006's case: blank is best in each frame, A is the best reading.
    log_probs = np.log(np.array([[1e-9, 0.4, 1e-9, 0.6]] * 2))
    search = PrefixBeam(_EVERYTHING, _BLANK)
    search.advance(log_probs)
    best = search.best()[0]
    self.assertEqual(best.labels, (1,))
    self.assertAlmostEqual(math.exp(best.score), 0.64, places=6)

  def test_a_narrow_beam_never_scores_above_the_truth(self):
    for seed in range(20):
      log_probs = _log_probs(6, seed, scale=2.0)
      expected = _by_all_paths(log_probs)
      search = PrefixBeam(BeamConfig(width=3, n_best=3), _BLANK)
      search.advance(log_probs)
      for one in search.best():
        self.assertLessEqual(one.score, expected[one.labels] + 1e-9)

  def test_a_phrase_turns_the_choice(self):
    # A is a little likelier than B.
    log_probs = np.log(np.array([[0.02, 0.5, 0.4, 0.08]]))
    plain = PrefixBeam(BeamConfig(), _BLANK)
    plain.advance(log_probs)
    self.assertEqual(plain.best()[0].labels, (1,))
    biased = PrefixBeam(
      BeamConfig(), _BLANK, PhraseBias(["b"], _CHARACTERS, 1.0)
    )
    biased.advance(log_probs)
    self.assertEqual(biased.best()[0].labels, (2,))
    self.assertAlmostEqual(biased.best()[0].score, math.log(0.4) + 1.0)

  def test_only_whole_phrases_gain(self):
    bias = PhraseBias(["ab", "a  ba", "b"], _CHARACTERS, 2.0)
    cases = {
      "": 0,
      "AB": 2,
      "A": 0,
      "ABA": 0,
      "AB A": 2,
      "A BA": 4,
      "A B": 0,
      "B": 1,
      "B B": 2,
      "BB": 0,
      "A BB B": 1,
    }
    for text, characters in cases.items():
      self.assertEqual(_bonus(bias, _ids(text)), 2.0 * characters, text)

  def test_a_phrase_inside_a_longer_one_that_breaks_is_kept(self):
    bias = PhraseBias(["b", "b a a"], _CHARACTERS, 1.0)
    for text, characters in {
      "B A": 1,
      "B AB": 1,
      "B A B": 1,
      "B A A": 5,
      "B A AA": 1,
    }.items():
      self.assertEqual(_bonus(bias, _ids(text)), characters, text)

  def test_bad_input_is_refused(self):
    for phrase in ("", "  ", "anna 3"):
      with self.assertRaisesRegex(InputError, "found the phrase"):
        PhraseBias([phrase], _CHARACTERS, 1.0)
    for width, n_best in ((0, 0), (3, 4), (3, 0)):
      with self.assertRaisesRegex(InputError, "found a beam"):
        BeamConfig(width=width, n_best=n_best)


if __name__ == "__main__":
  absltest.main()

"""Clients that train for themselves, on a model whose steps are known."""

import collections

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl.dropout.sub_model import variable_specs
from fl.personalization import (
  Personalization,
  personal_rates,
  split_alternating,
)
from fl.processes.client_work import LocalTraining
from fl.runtime.local import local_runtime
from lingvo_lite.data.utterance import Utterance
from lingvo_lite.stage.errors import InputError


def _model():
  inputs = tf.keras.Input([1])
  return tf.keras.Model(
    inputs, tf.keras.layers.Dense(1, use_bias=False, name="out")(inputs)
  )


class _Numbers:
  """Each client's batches are its number, 0 to 2, once and twice."""

  batch_spec = collections.OrderedDict(x=tf.TensorSpec([None, 1], tf.float32))

  def __len__(self):
    return 3

  def batches(self, client, earlier_rounds):
    del earlier_rounds
    return tf.data.Dataset.from_tensor_slices(
      collections.OrderedDict(
        x=np.array([[[client]], [[2 * client]]], np.float32)
      )
    )


def _personalization(rate):
  return Personalization(
    variable_specs(_model()),
    LocalTraining(
      _model,
      lambda model, batch: tf.reduce_sum(model(batch["x"], training=True)),
      tff.learning.optimizers.build_sgdm(1.0),
      lambda number: tf.constant(rate),
      clip_norm=None,
      seed=0,
    ),
    _Numbers(),
  )


def _utterance(speaker, number):
  return Utterance(
    id=f"{speaker}-1-{number:04}",
    speaker=speaker,
    chapter="1",
    audio_path="",
    transcript="a",
  )


class PersonalizationTest(tf.test.TestCase):
  def test_each_client_has_its_own_weights_by_hand(self):
    with local_runtime():
      personal = _personalization(0.1).weights(
        np.array([10.0], np.float32), [2, 0, 1]
      )
    # The gradient of w * x is x, and nothing is averaged.
    self.assertAllClose(personal, [[10 - 0.6], [10.0], [10 - 0.3]])

  def test_a_client_that_comes_to_nothing_stops_it(self):
    with local_runtime():
      with self.assertRaisesRegex(InputError, "2 of 2 clients whose weights"):
        _personalization(float("inf")).weights(
          np.array([1.0], np.float32), [1, 2]
        )

  def test_speakers_are_compared_with_themselves(self):
    rates = personal_rates(
      ["ann", "ann", "bob", "cid"],
      ["a b", "c d", "e f", "g"],
      ["a x", "x d", "e f", "x"],
      ["a b", "c x", "e x", "x"],
    )
    # Ann: 2 errors, then 1 of 4 words; Bob: 0, then 1 of 2; Cid: always 1 of 1.
    self.assertEqual(
      (rates["speakers_better"], rates["speakers_worse"]), (1, 1)
    )
    self.assertAlmostEqual(rates["before"]["wer_p50"], 0.5)
    self.assertAlmostEqual(rates["after"]["wer_p50"], 0.5)
    self.assertEqual(rates["after"]["speakers"], 3)
    self.assertNotIn("ann", str(rates))

  def test_every_other_utterance_is_measured(self):
    utterances = [_utterance(s, n) for s in ("b", "a") for n in (3, 1, 2, 0)]
    train, measured = split_alternating(utterances)
    self.assertEqual(
      [u.id for u in train], ["a-1-0000", "a-1-0002", "b-1-0000", "b-1-0002"]
    )
    self.assertEqual(
      [u.id for u in measured],
      ["a-1-0001", "a-1-0003", "b-1-0001", "b-1-0003"],
    )


if __name__ == "__main__":
  tf.test.main()

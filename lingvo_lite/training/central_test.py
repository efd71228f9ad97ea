"""Tests of central training on a small problem with a known answer."""

import os

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from lingvo_lite.stage.errors import InputError
from lingvo_lite.training.central import (
  CentralTraining,
  TrainingConfig,
  learning_rate,
)

_CONFIG = TrainingConfig(
  steps=80,
  batch_size=8,
  peak_learning_rate=0.1,
  warmup_steps=5,
  weight_decay=0.0,
  evaluate_every=20,
)
_ANSWER = np.array([[1.0], [-2.0], [0.5]], np.float32)


def _model():
  return tf.keras.Sequential(
    [tf.keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")]
  )


def _batches(start_step=0):
  rng = np.random.default_rng(0)
  inputs = rng.normal(size=[100 * 8, 3]).astype(np.float32)
  data = {"x": inputs, "y": inputs @ _ANSWER}
  batches = tf.data.Dataset.from_tensor_slices(data).batch(8)
  return batches.skip(start_step)


def _training(config=_CONFIG, folder=None):
  model = _model()
  model.build([None, 3])

  def loss_fn(batch):
    predicted = model(batch["x"], training=True)
    return tf.reduce_mean(tf.square(predicted - batch["y"]))

  return model, CentralTraining(model, loss_fn, config, folder)


class CentralTrainingTest(absltest.TestCase):
  def test_learning_rate_by_hand(self):
    config = TrainingConfig(steps=110, peak_learning_rate=2.0, warmup_steps=10)
    rates = [float(learning_rate(s, config)) for s in (0, 9, 10, 60, 110)]
    np.testing.assert_allclose(rates, [0.2, 2.0, 2.0, 1.0, 0.0], atol=1e-6)

  def test_finds_the_answer_and_records_the_way(self):
    model, training = _training()
    kept = []
    history = training.run(
      _batches(), lambda: {"wer": 0.5}, [], lambda rows: kept.append(len(rows))
    )
    self.assertEqual([row["step"] for row in history], [20, 40, 60, 80])
    self.assertEqual(kept, [1, 2, 3, 4])
    self.assertEqual(float(training.progress), 1.0)
    self.assertEqual(history[0]["wer"], 0.5)
    self.assertLess(history[-1]["loss"], 0.05 * history[0]["loss"])
    np.testing.assert_allclose(model.get_weights()[0], _ANSWER, atol=0.2)

  def test_goes_on_where_it_was_stopped(self):
    whole_model, whole = _training()
    whole_history = whole.run(_batches(), dict, [])

    folder = self.create_tempdir().full_path
    _, first = _training(folder=folder)
    interrupted = []

    def stop_after_two_rows(rows):
      interrupted[:] = rows
      if len(rows) == 3:
        raise KeyboardInterrupt

    with self.assertRaises(KeyboardInterrupt):
      first.run(_batches(), dict, [], stop_after_two_rows)
    model, second = _training(folder=folder)
    self.assertEqual(second.step, 40)
    history = second.run(_batches(second.step), dict, interrupted)
    self.assertEqual(
      [(row["step"], row["loss"]) for row in history],
      [(row["step"], row["loss"]) for row in whole_history],
    )
    np.testing.assert_array_equal(
      model.get_weights()[0], whole_model.get_weights()[0]
    )

  def test_a_torn_checkpoint_gives_way_to_the_one_before(self):
    folder = self.create_tempdir().full_path
    _, first = _training(folder=folder)
    first.run(_batches(), dict, [])
    with open(os.path.join(folder, "ckpt-80.index"), "wb") as file:
      file.write(b"torn")
    _, second = _training(folder=folder)
    self.assertEqual(second.step, 60)

  def test_a_loss_that_is_no_number_stops_the_run(self):
    _, training = _training(
      TrainingConfig(steps=2, peak_learning_rate=1.0, evaluate_every=1)
    )
    batch = {"x": np.full([1, 3], np.nan, np.float32), "y": np.zeros([1, 1])}
    batches = tf.data.Dataset.from_tensors(
      {k: tf.cast(v, tf.float32) for k, v in batch.items()}
    ).repeat()
    with self.assertRaisesRegex(InputError, "loss of nan at step 1"):
      training.run(batches, dict, [])

  def test_bad_values_are_refused(self):
    for change in (dict(steps=0), dict(steps=1, peak_learning_rate=0.0)):
      with self.assertRaises(InputError):
        TrainingConfig(**change)


if __name__ == "__main__":
  absltest.main()

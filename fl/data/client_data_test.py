"""A speaker is a client; any round of it can be made at once."""

import tensorflow as tf
from absl.testing import parameterized

from fl.data.client_data import ClientData
from fl.federated_config import FederatedConfig
from fl.program_case import SETTINGS, small_data
from lingvo_lite.stage.errors import InputError


class ClientDataTest(parameterized.TestCase, tf.test.TestCase):
  def test_a_speaker_is_a_client(self):
    data = small_data()
    self.assertEqual(data.speakers, ["10", "20", "30"])
    # Three utterances in batches of two, the last one topped up.
    self.assertEqual(data.steps(0), 2)
    self.assertLen(list(data.batches(0, 0)), 2)
    self.assertEqual(small_data(local_epochs=3).steps(0), 6)

  def test_a_round_is_the_same_whether_reached_in_order_or_at_once(self):
    in_order = small_data()
    for number in range(3):
      reached = list(in_order.batches(1, number))
    at_once = list(small_data().batches(1, 2))
    for one, same in zip(reached, at_once, strict=True):
      for name in one:
        self.assertAllEqual(one[name], same[name])
    # Another client's stream is another one.
    other = list(small_data().batches(2, 2))
    self.assertNotEqual(
      [batch["lengths"].numpy().tolist() for batch in at_once],
      [batch["lengths"].numpy().tolist() for batch in other],
    )

  def test_nothing_to_train_on_is_refused(self):
    with self.assertRaisesRegex(InputError, "no client speech"):
      ClientData([], 2, 1, None, 0)
    with self.assertRaisesRegex(InputError, "local_epochs=0"):
      small_data(local_epochs=0)

  @parameterized.parameters(
    ("rounds", 0), ("cohort", -1), ("client_learning_rate", float("nan")),
    ("server_learning_rate", 0.0), ("mask_scope", "cohort"),
    ("refresh_every", -1), ("refresh_hysteresis", float("inf")),
  )  # fmt: skip
  def test_a_setting_out_of_range_is_refused_by_its_flag(self, name, value):
    with self.assertRaisesRegex(InputError, f"--{name}={value}"):
      FederatedConfig(**{**SETTINGS, name: value})


if __name__ == "__main__":
  tf.test.main()

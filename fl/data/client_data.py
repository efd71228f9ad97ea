"""One speaker is one client: its speech as a data set for a round."""

import collections
import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from lingvo_lite.audio.spec_augment import SpecAugmentConfig
from lingvo_lite.data.batching import TrainingBatches
from lingvo_lite.data.examples import Example
from lingvo_lite.stage.errors import InputError


class ClientData:
  """All clients' speech, in memory.

  Clients are numbered in the order of their speakers' names.

  Args:
    examples: of all clients.
    batch_size: utterances a local step.
    local_epochs: how often a client goes through its speech in a round.
    augment: how features are altered on the client; None leaves them.
    seed: of the order of the batches and of the augmentation.

  Raises:
    InputError: there are no examples, or a setting is out of range.
  """

  def __init__(
    self,
    examples: Sequence[Example],
    batch_size: int,
    local_epochs: int,
    augment: SpecAugmentConfig | None,
    seed: int,
  ) -> None:
    if not examples:
      raise InputError("found no client speech, expected one utterance or more")
    for name, value in (
      ("client_batch_size", batch_size),
      ("local_epochs", local_epochs),
    ):
      if value < 1:
        raise InputError(f"found {name}={value}, expected 1 or more")
    by_speaker = collections.defaultdict(list)
    for example in examples:
      by_speaker[example.utterance.speaker].append(example)
    self.speakers = sorted(by_speaker)
    self._counts = [len(by_speaker[speaker]) for speaker in self.speakers]
    self._starts = np.cumsum([0, *self._counts])
    self._batch_size = batch_size
    self._local_epochs = local_epochs
    self._seed = seed
    self._bins = examples[0].features.shape[1]
    # One store and two graphs for all clients: a pipeline of its own for each
    # takes half a second to lay and 15 MB to keep.
    batches = TrainingBatches(
      [e for speaker in self.speakers for e in by_speaker[speaker]],
      batch_size,
      augment,
    )
    self._plan = tf.function(
      batches.plan,
      input_signature=[
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([], tf.int64),
        tf.TensorSpec([], tf.int64),
      ],
    )
    self._batch = tf.function(
      batches.batch,
      input_signature=[
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None], tf.float32),
        tf.TensorSpec([2], tf.int64),
      ],
    )

  def __len__(self) -> int:
    return len(self.speakers)

  @property
  def batch_spec(self) -> collections.OrderedDict[str, tf.TensorSpec]:
    """What every client's data set is made of."""
    return collections.OrderedDict(
      features=tf.TensorSpec([None, None, self._bins], tf.float32),
      label_lengths=tf.TensorSpec([None], tf.int32),
      labels=tf.TensorSpec([None, None], tf.int32),
      lengths=tf.TensorSpec([None], tf.int32),
    )

  @property
  def utterances(self) -> tuple[int, ...]:
    """How many utterances each client has."""
    return tuple(self._counts)

  def steps(self, client: int) -> int:
    """Returns how many local steps a client makes in a round."""
    epoch = -(-self._counts[client] // self._batch_size)
    return epoch * self._local_epochs

  def batches(self, client: int, earlier_rounds: int) -> tf.data.Dataset:
    """Returns what a client trains on in a round.

    Its rounds follow each other in one endless stream of shuffled epochs,
    which depends on the seed and the client alone.

    Args:
      client: its number.
      earlier_rounds: how many rounds it has taken part in before.
    """
    members = tf.range(self._starts[client], self._starts[client + 1])
    seed = tf.constant(self._seed * len(self) + client, tf.int64)
    first = earlier_rounds * self._local_epochs
    made = [
      self._as_data_set(self._batch(*row))
      for epoch in range(first, first + self._local_epochs)
      for row in zip(
        *self._plan(
          tf.cast(members, tf.int32), seed, tf.constant(epoch, tf.int64)
        ),
        strict=True,
      )
    ]
    return functools.reduce(lambda one, other: one.concatenate(other), made)

  def _as_data_set(self, batch: dict[str, tf.Tensor]) -> tf.data.Dataset:
    # TFF wants the fields in order.
    return tf.data.Dataset.from_tensors(
      collections.OrderedDict((name, batch[name]) for name in self.batch_spec)
    )

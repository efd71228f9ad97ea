"""One speaker is one client: its speech as a data set for a round."""

import collections
from collections.abc import Iterator, Sequence

import tensorflow as tf

from lingvo_lite.audio.spec_augment import SpecAugmentConfig
from lingvo_lite.data.batching import bucketed_batches
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
    self._examples = [by_speaker[speaker] for speaker in self.speakers]
    self._batch_size = batch_size
    self._local_epochs = local_epochs
    self._augment = augment
    self._seed = seed
    # By client: how many batches its stream has given, and the stream. A new
    # stream takes a while to lay, so they are kept from round to round.
    self._streams: dict[int, tuple[int, Iterator[dict[str, tf.Tensor]]]] = {}

  def __len__(self) -> int:
    return len(self.speakers)

  @property
  def batch_spec(self) -> collections.OrderedDict[str, tf.TensorSpec]:
    """What every client's data set is made of."""
    bins = self._examples[0][0].features.shape[1]
    return collections.OrderedDict(
      features=tf.TensorSpec([None, None, bins], tf.float32),
      label_lengths=tf.TensorSpec([None], tf.int32),
      labels=tf.TensorSpec([None, None], tf.int32),
      lengths=tf.TensorSpec([None], tf.int32),
    )

  def steps(self, client: int) -> int:
    """Returns how many local steps a client makes in a round."""
    epoch = -(-len(self._examples[client]) // self._batch_size)
    return epoch * self._local_epochs

  def batches(self, client: int, earlier_rounds: int) -> tf.data.Dataset:
    """Returns what a client trains on in a round.

    Its rounds follow each other in one endless stream of shuffled epochs,
    which depends on the seed and the client alone.

    Args:
      client: its number.
      earlier_rounds: how many rounds it has taken part in before.
    """
    steps = self.steps(client)
    start = earlier_rounds * steps
    position, stream = self._streams.get(client, (None, None))
    if stream is None or position != start:
      stream = self._stream(client, start)
    batches = self._as_data_set(next(stream))
    for _ in range(1, steps):
      batches = batches.concatenate(self._as_data_set(next(stream)))
    self._streams[client] = (start + steps, stream)
    return batches

  def _as_data_set(self, batch: dict[str, tf.Tensor]) -> tf.data.Dataset:
    # TFF wants the fields in order.
    return tf.data.Dataset.from_tensors(
      collections.OrderedDict((name, batch[name]) for name in self.batch_spec)
    )

  def _stream(
    self, client: int, start_step: int
  ) -> Iterator[dict[str, tf.Tensor]]:
    return iter(
      bucketed_batches(
        self._examples[client],
        self._batch_size,
        seed=self._seed * len(self) + client,
        augment=self._augment,
        start_step=start_step,
      )
    )

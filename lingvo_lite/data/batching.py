"""Batches of utterances of similar length, in a handful of shapes.

Durations are rounded up to at most `MAX_BUCKETS` lengths, so that a graph is
traced for few shapes and little is computed on padding.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from lingvo_lite.audio.spec_augment import (
  SpecAugmentConfig,
  draw_speeds,
  lead_with_silence,
  spec_augment,
  stretch,
  stretched_lengths,
)
from lingvo_lite.data.examples import Example, min_frames
from lingvo_lite.stage.errors import InputError

MAX_BUCKETS = 8

# Bucket lengths are multiples of this: of 4 for the subsampling, and of more so
# that near quantiles fall together.
_BUCKET_MULTIPLE = 8

# Utterances are sorted by length times a random factor up to this, so that
# each epoch puts others together.
_LENGTH_JITTER = 1.05

# Tells the draws of silence from the other augmentations of a batch.
_LEAD = 1

_FOREVER = np.iinfo(np.int64).max


def bucket_lengths(
  frame_counts: Sequence[int], stretch_by: float = 1.0, lead_by: int = 0
) -> list[int]:
  """Returns the lengths, ascending, that batches of such utterances have.

  They lie halfway between the quantiles, which would spend too much padding on
  the few longest utterances, and equal steps, which would on the many others.

  Args:
    frame_counts: T of each utterance.
    stretch_by: how much longer than that an utterance may become.
    lead_by: frames that may come before it, besides.

  Returns:
    At most `MAX_BUCKETS` multiples of 8; the last holds every utterance.
  """
  longest = np.ceil(max(frame_counts) * stretch_by) + lead_by
  steps = np.arange(1, MAX_BUCKETS + 1) / MAX_BUCKETS
  quantiles = np.quantile(frame_counts, steps)
  quantiles[-1] = longest
  shortest = min(frame_counts)
  between = (quantiles + shortest + (longest - shortest) * steps) / 2
  rounded = np.ceil(between / _BUCKET_MULTIPLE) * _BUCKET_MULTIPLE
  return sorted({int(length) for length in rounded})


def spec_of_any_size(batch: dict[str, tf.Tensor]) -> dict[str, tf.TensorSpec]:
  """Returns what one graph for batches of every size is traced for.

  Tracing a training step takes as long as 50 steps; with `reduce_retracing` it
  happens up to 4 times until the graph fits all lengths.

  Args:
    batch: any one of them; all but the last axis of the features may differ.
  """
  return {
    key: tf.TensorSpec(
      [None, None, value.shape[2]]
      if value.shape.rank == 3
      else [None] * value.shape.rank,
      value.dtype,
    )
    for key, value in batch.items()
  }


class _Store:
  """All examples of a set as a few tensors that a graph gathers from."""

  def __init__(self, examples: Sequence[Example]) -> None:
    if not examples:
      raise InputError("found no examples to batch, expected at least one")
    counts = [len(example.features) for example in examples]
    widest = max(len(example.labels) for example in examples)
    labels = np.zeros([len(examples), widest], np.int32)
    for row, example in zip(labels, examples, strict=True):
      row[: len(example.labels)] = example.labels
    # One long tensor rather than a padded one: memory holds speech only.
    self.features = tf.concat([e.features for e in examples], axis=0)
    self.starts = tf.constant(np.cumsum([0] + counts[:-1]), tf.int32)
    self.lengths = tf.constant(counts, tf.int32)
    self.least_lengths = tf.constant(
      [min_frames(example.labels) for example in examples], tf.int32
    )
    self.labels = tf.constant(labels)
    self.label_lengths = tf.constant(
      [len(example.labels) for example in examples], tf.int32
    )

  def gather(self, index: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
    """Returns float32[B, frames, F] of the examples int32[B]."""
    place = tf.minimum(
      tf.range(frames)[tf.newaxis], tf.gather(self.lengths, index)[:, None] - 1
    )
    return tf.gather(
      self.features, tf.gather(self.starts, index)[:, tf.newaxis] + place
    )


class TrainingBatches:
  """Training batches of any part of a set of examples, as pure functions.

  Both functions work inside a graph and eagerly alike, and depend on their
  arguments alone: any batch of any epoch can be made without those before it.

  Args:
    examples: what to learn from.
    batch_size: B.
    augment: how features are altered; None leaves them as they are.

  Raises:
    InputError: if there is no example or the batch size is not positive.
  """

  def __init__(
    self,
    examples: Sequence[Example],
    batch_size: int,
    augment: SpecAugmentConfig | None,
  ) -> None:
    if batch_size < 1:
      raise InputError(f"found batch_size={batch_size}, expected 1 or more")
    self._store = _Store(examples)
    self._batch_size = batch_size
    self._augment = augment
    longest = 1.0 / (1.0 - augment.max_speed_change) if augment else 1.0
    lead = augment.max_leading_frames if augment else 0
    self._edges = tf.constant(
      bucket_lengths(self._store.lengths.numpy(), longest, lead), tf.int32
    )

  def plan(
    self, members: tf.Tensor, seed: tf.Tensor, epoch: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Plans an epoch.

    Args:
      members: int32[N], which of the examples it goes through.
      seed: int64[].
      epoch: int64[], from 0.

    Returns:
      For each of its batches the arguments of `batch`: int32[batches, B],
      float32[batches, B] and int32 or int64[batches, 2].
    """
    lengths = tf.gather(self._store.lengths, members)
    speed_seed, order_seed, mask_seed = tf.unstack(
      tf.random.experimental.stateless_split(
        tf.random.experimental.stateless_fold_in(
          tf.stack([seed, tf.zeros_like(seed)]), epoch
        ),
        3,
      )
    )
    if self._augment is None:
      speeds = tf.ones(tf.shape(lengths))
    else:
      speeds = draw_speeds(
        lengths,
        tf.gather(self._store.least_lengths, members),
        speed_seed,
        self._augment,
      )
    # Speeds come before the order, so that batches are of similar lengths
    # after the change.
    index = _shuffled_batches(
      stretched_lengths(lengths, speeds), self._batch_size, order_seed
    )
    seeds = tf.random.experimental.stateless_split(
      mask_seed, tf.shape(index)[0]
    )
    return tf.gather(members, index), tf.gather(speeds, index), seeds

  def batch(
    self, index: tf.Tensor, speeds: tf.Tensor, mask_seed: tf.Tensor
  ) -> dict[str, tf.Tensor]:
    """Makes a batch, as `bucketed_batches` describes, from a row of a plan."""
    store = self._store
    recorded = tf.gather(store.lengths, index)
    lengths = stretched_lengths(recorded, speeds)
    if self._augment is None:
      frames = _round_up(lengths, self._edges)
      features = store.gather(index, frames)
    else:
      leads, room_seed = self._draw_leads(tf.shape(index), mask_seed)
      frames = _round_up(lengths + leads, self._edges)
      features = store.gather(index, tf.reduce_max(recorded))
      features = stretch(features, recorded, speeds, frames)
      features = spec_augment(features, lengths, mask_seed, self._augment)
      if self._augment.max_leading_frames:
        features = lead_with_silence(features, leads, room_seed)
        lengths += leads
    return _as_batch(store, index, features, lengths, frames)

  def _draw_leads(
    self, shape: tf.Tensor, mask_seed: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns frames of silence before each utterance, and its noise's seed."""
    most = self._augment.max_leading_frames if self._augment else 0
    if not most:
      return tf.zeros(shape, tf.int32), mask_seed
    lead_seed, room_seed = tf.unstack(
      tf.random.experimental.stateless_split(
        tf.random.experimental.stateless_fold_in(mask_seed, _LEAD), 2
      )
    )
    leads = tf.random.stateless_uniform(
      shape, lead_seed, maxval=most + 1, dtype=tf.int32
    )
    return leads, room_seed


def bucketed_batches(
  examples: Sequence[Example],
  batch_size: int,
  seed: int,
  augment: SpecAugmentConfig | None = None,
  repeat: bool = True,
  start_step: int = 0,
) -> tf.data.Dataset:
  """Batches for training, shuffled anew each epoch.

  Every utterance comes once an epoch, in a batch of utterances of similar
  length; batches come in random order. All batches are full: the one that
  would not be is topped up with utterances of about its length. The same seed
  gives the same batches on any machine.

  All features stay in memory (10 hours of speech take 1.2 GB). For more,
  write them to TFRecord files once and let `_Store.gather` read from there; the
  plan of an epoch needs the lengths only.

  Args:
    examples: what to learn from.
    batch_size: B.
    seed: of the order and of the augmentation.
    augment: how features are altered; None leaves them as they are.
    repeat: whether epochs follow each other for ever.
    start_step: how many batches to leave out, at no cost: to resume.

  Returns:
    A dataset of `features` float32[B, T, F], `lengths` int32[B], `labels`
    int32[B, U] padded with 0, and `label_lengths` int32[B]. T is one of
    `bucket_lengths`; U is the same in all batches.

  Raises:
    InputError: if there is no example or the batch size is not positive.
  """
  batches = TrainingBatches(examples, batch_size, augment)
  everyone = tf.range(len(examples))

  def plan(epoch: tf.Tensor) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(
      batches.plan(everyone, tf.constant(seed, tf.int64), epoch)
    )

  epochs = tf.data.Dataset.range(_FOREVER if repeat else 1)
  planned = epochs.flat_map(plan).skip(start_step)
  return planned.map(
    batches.batch, num_parallel_calls=2, deterministic=True
  ).prefetch(4)


def eval_batches(
  examples: Sequence[Example], batch_size: int
) -> tf.data.Dataset:
  """Batches for evaluation: every example once, the shortest first.

  Args:
    examples: what to measure on.
    batch_size: B; the last batch may be smaller.

  Returns:
    A dataset as that of `bucketed_batches`, with also `index` int32[B]: the
    position of each in `examples`.

  Raises:
    InputError: if there is no example.
  """
  store = _Store(examples)
  edges = tf.constant(bucket_lengths(store.lengths.numpy()), tf.int32)

  def batch(index: tf.Tensor) -> dict[str, tf.Tensor]:
    lengths = tf.gather(store.lengths, index)
    frames = _round_up(lengths, edges)
    features = store.gather(index, frames)
    return {
      **_as_batch(store, index, features, lengths, frames),
      "index": index,
    }

  order = tf.argsort(store.lengths, stable=True)
  dataset = tf.data.Dataset.from_tensor_slices(order).batch(batch_size)
  return dataset.map(batch, num_parallel_calls=2, deterministic=True).prefetch(
    4
  )


def _shuffled_batches(
  lengths: tf.Tensor, batch_size: int, seed: tf.Tensor
) -> tf.Tensor:
  """Returns int32[batches, B], the examples of each batch of one epoch."""
  jitter_seed, order_seed = tf.unstack(
    tf.random.experimental.stateless_split(seed, 2)
  )
  count = tf.size(lengths)
  jitter = tf.random.stateless_uniform(
    [count], jitter_seed, 1.0, _LENGTH_JITTER
  )
  by_length = tf.argsort(tf.cast(lengths, tf.float32) * jitter)
  batches = -(-count // batch_size)
  # The longest ones come round again until the last batch is full, or all of
  # them where they are fewer than one batch.
  missing = batches * batch_size - count
  filler = tf.gather(
    by_length, tf.math.floormod(count - 1 - tf.range(missing), count)
  )
  index = tf.reshape(tf.concat([by_length, filler], 0), [-1, batch_size])
  shuffled = tf.argsort(tf.random.stateless_uniform([batches], order_seed))
  return tf.gather(index, shuffled)


def _round_up(lengths: tf.Tensor, edges: tf.Tensor) -> tf.Tensor:
  """Returns the least of `edges` that holds the longest of `lengths`."""
  longest = tf.reduce_max(lengths, keepdims=True)
  return tf.gather(edges, tf.searchsorted(edges, longest))[0]


def _as_batch(
  store: _Store,
  index: tf.Tensor,
  features: tf.Tensor,
  lengths: tf.Tensor,
  frames: tf.Tensor,
) -> dict[str, tf.Tensor]:
  """Puts a batch together, with zeros after the end of each utterance."""
  keep = tf.sequence_mask(lengths, frames)[:, :, tf.newaxis]
  return {
    "features": tf.where(keep, features, 0.0),
    "lengths": lengths,
    "labels": tf.gather(store.labels, index),
    "label_lengths": tf.gather(store.label_lengths, index),
  }

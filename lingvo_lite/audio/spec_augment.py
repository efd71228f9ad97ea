"""SpecAugment and its kin: training features that no recording had.

All of it is graph operations on scaled log-mel features, drawn from a stateless
seed. Zero, the mean of the features, stands for what is hidden.

References: Park et al., SpecAugment, Interspeech 2019 (without time warping; a
plain change of speed takes its place); Jaitly and Hinton, Vocal Tract Length
Perturbation, 2013 (here along the mel axis).
"""

import dataclasses
import math

import tensorflow as tf

from lingvo_lite.audio.log_mel import LogMelConfig
from lingvo_lite.stage.errors import InputError

# Of scaled log-mel, above digital silence: 29 dB, and how much frames differ.
_LOUDEST_ROOM = 1.5
_ROOM_NOISE = 0.2


@dataclasses.dataclass(frozen=True)
class SpecAugmentConfig:
  """How strongly features are altered; zero switches a part off.

  Attributes:
    frequency_masks: how many bands of mel bins are hidden.
    max_frequency_mask_bins: widest band.
    time_masks: how many stretches of frames are hidden.
    max_time_mask_frames: longest stretch.
    max_time_mask_fraction: longest stretch as a fraction of the utterance, so
      that a short command keeps most of its words.
    max_gain_db: the level is raised or lowered by up to this.
    max_pitch_warp: the mel axis is stretched or squeezed by up to this
      fraction, as another vocal tract would: the voices of other speakers.
    max_speed_change: the speed is changed by a factor in 1 - this to 1 + this
      (the pitch stays).
    max_leading_silence_ms: up to this long nothing is said before the
      utterance, as when a microphone is open. What streams has heard nothing
      else yet, and would not know it from recordings that begin with speech.
  """

  frequency_masks: int = 2
  max_frequency_mask_bins: int = 15
  time_masks: int = 2
  max_time_mask_frames: int = 40
  max_time_mask_fraction: float = 0.05
  max_gain_db: float = 6.0
  max_pitch_warp: float = 0.12
  max_speed_change: float = 0.1
  max_leading_silence_ms: int = 0

  def __post_init__(self) -> None:
    for field in dataclasses.fields(self):
      if getattr(self, field.name) < 0:
        raise InputError(
          f"found {field.name}={getattr(self, field.name)}, expected 0 (off) "
          "or more"
        )
    if (
      self.max_time_mask_fraction > 1
      or self.max_speed_change >= 1
      or self.max_pitch_warp >= 1
    ):
      raise InputError(
        f"found max_time_mask_fraction={self.max_time_mask_fraction}, "
        f"max_speed_change={self.max_speed_change}, "
        f"max_pitch_warp={self.max_pitch_warp}, expected fractions: at most 1, "
        "and below 1 for the changes"
      )

  @property
  def max_leading_frames(self) -> int:
    """Frames of the longest silence before an utterance."""
    return self.max_leading_silence_ms // LogMelConfig().hop_ms


def draw_speeds(
  lengths: tf.Tensor,
  least_lengths: tf.Tensor,
  seed: tf.Tensor,
  config: SpecAugmentConfig,
) -> tf.Tensor:
  """Draws a speed for each utterance.

  Args:
    lengths: int32[B], frames.
    least_lengths: int32[B], frames that must remain for the transcript to fit.
    seed: int32[2].
    config: how strongly.

  Returns:
    float32[B], 1 for the recorded speed, more for faster.
  """
  change = config.max_speed_change
  speeds = tf.random.stateless_uniform(
    tf.shape(lengths), seed, 1.0 - change, 1.0 + change
  )
  fastest = (lengths - 1) / tf.maximum(least_lengths - 1, 1)
  return tf.minimum(speeds, tf.maximum(tf.cast(fastest, tf.float32), 1.0))


def stretched_lengths(lengths: tf.Tensor, speeds: tf.Tensor) -> tf.Tensor:
  """Returns int32[B], the frames that `stretch` makes of int32[B] frames."""
  # A hair more, so that a whole quotient is not lost to rounding.
  last = tf.cast(lengths - 1, tf.float32) / speeds + 1e-3
  return tf.cast(tf.floor(last), tf.int32) + 1


def stretch(
  features: tf.Tensor,
  lengths: tf.Tensor,
  speeds: tf.Tensor,
  frames: tf.Tensor,
) -> tf.Tensor:
  """Changes the speed of each utterance by linear interpolation.

  Args:
    features: float32[B, T, F].
    lengths: int32[B], frames of them that count.
    speeds: float32[B].
    frames: int32[], T of the result.

  Returns:
    float32[B, frames, F]; frames past the new lengths repeat the last one.
  """
  position = tf.range(frames, dtype=tf.float32)[tf.newaxis] * speeds[:, None]
  last = lengths[:, tf.newaxis] - 1
  before = tf.minimum(tf.cast(position, tf.int32), last)
  after = tf.minimum(before + 1, last)
  weight = (position - tf.floor(position))[..., tf.newaxis]
  return (1.0 - weight) * tf.gather(
    features, before, batch_dims=1
  ) + weight * tf.gather(features, after, batch_dims=1)


def warp_bins(features: tf.Tensor, warps: tf.Tensor) -> tf.Tensor:
  """Reads the mel axis of each utterance at `warp` times the bin.

  Args:
    features: float32[B, T, F].
    warps: float32[B]; 1 changes nothing, more lowers the formants.

  Returns:
    float32[B, T, F], interpolated linearly; past the last bin, the last one.
  """
  bins = features.shape[2]
  places = tf.range(bins, dtype=tf.float32)
  sources = tf.minimum(places * warps[:, tf.newaxis], bins - 1.0)
  # A matrix of hat functions: one product does what two gathers would.
  distances = tf.abs(places[:, tf.newaxis] - sources[:, tf.newaxis])
  return tf.matmul(features, tf.maximum(1.0 - distances, 0.0))


def spec_augment(
  features: tf.Tensor,
  lengths: tf.Tensor,
  seed: tf.Tensor,
  config: SpecAugmentConfig,
) -> tf.Tensor:
  """Warps the mel axis, shifts the level and hides bands and stretches.

  Args:
    features: float32[B, T, F], scaled log-mel.
    lengths: int32[B], frames of them that count.
    seed: int32[2]; the same seed alters the same way.
    config: how strongly.

  Returns:
    float32[B, T, F].
  """
  batch, frames, bins = tf.unstack(tf.shape(features))
  seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 4))
  if config.max_pitch_warp:
    warps = 1.0 + tf.random.stateless_uniform(
      [batch], seeds[3], -config.max_pitch_warp, config.max_pitch_warp
    )
    features = warp_bins(features, warps)
  # A factor on the audio is a shift of the logarithm; the affine divides it.
  per_db = math.log(10.0) / 20.0 / LogMelConfig().log_std
  limit = config.max_gain_db * per_db
  features += tf.random.stateless_uniform(
    [batch, 1, 1], seeds[0], -limit, limit
  )
  widest_bins = tf.fill([batch], float(config.max_frequency_mask_bins))
  keep_bins = _keep(
    bins,
    tf.fill([batch], bins),
    widest_bins,
    config.frequency_masks,
    seeds[1],
  )
  longest = tf.minimum(
    config.max_time_mask_fraction * tf.cast(lengths, tf.float32),
    float(config.max_time_mask_frames),
  )
  keep_frames = _keep(frames, lengths, longest, config.time_masks, seeds[2])
  keep = keep_frames[:, :, tf.newaxis] & keep_bins[:, tf.newaxis, :]
  return tf.where(keep, features, 0.0)


def lead_with_silence(
  features: tf.Tensor, leads: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
  """Shifts utterances to later frames; what comes before is a quiet room.

  A third of the rooms is digital silence, the others have noise of one level
  in all bins.

  Args:
    features: float32[B, T, F], scaled log-mel; the last `leads` frames of each
      are lost.
    leads: int32[B], by how many frames.
    seed: int32[2].

  Returns:
    float32[B, T, F].
  """
  batch, frames, _ = tf.unstack(tf.shape(features))
  level_seed, noise_seed = tf.unstack(
    tf.random.experimental.stateless_split(seed, 2)
  )
  mel = LogMelConfig()
  floor = (math.log(mel.floor) - mel.log_mean) / mel.log_std
  levels = tf.random.stateless_uniform(
    [batch, 1, 1], level_seed, -_LOUDEST_ROOM / 2, _LOUDEST_ROOM
  )
  noise = tf.random.stateless_normal(
    tf.shape(features), noise_seed, stddev=_ROOM_NOISE
  )
  room = floor + tf.maximum(levels + noise, 0.0) * tf.cast(
    levels > 0.0, tf.float32
  )
  place = tf.range(frames)[tf.newaxis] - leads[:, tf.newaxis]
  shifted = tf.gather(features, tf.maximum(place, 0), batch_dims=1)
  return tf.where((place < 0)[:, :, tf.newaxis], room, shifted)


def _keep(
  size: tf.Tensor,
  lengths: tf.Tensor,
  widest: tf.Tensor,
  masks: int,
  seed: tf.Tensor,
) -> tf.Tensor:
  """Draws masks on one axis.

  Args:
    size: int32[], length of the axis.
    lengths: int32[B], how much of it counts; masks fall inside.
    widest: float32[B], widest mask.
    masks: how many.
    seed: int32[2].

  Returns:
    bool[B, size], True = keep.
  """
  uniform = tf.random.stateless_uniform([2, tf.size(lengths), masks], seed)
  widths = tf.floor(uniform[0] * (widest[:, tf.newaxis] + 1.0))
  room = tf.cast(lengths, tf.float32)[:, tf.newaxis] - widths
  starts = tf.floor(uniform[1] * (room + 1.0))
  place = tf.range(size, dtype=tf.float32)[tf.newaxis, tf.newaxis]
  hidden = (place >= starts[..., None]) & (place < (starts + widths)[..., None])
  return ~tf.reduce_any(hidden, axis=1)

"""The Conformer-CTC model, built from leaf layers."""

import zlib
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from lingvo_lite.layers.frames import (
  AddChannel,
  HalveLengths,
  JoinBins,
  MaskFrames,
  Residual,
  Scale,
)
from lingvo_lite.layers.gated_linear_unit import GatedLinearUnit
from lingvo_lite.layers.norms import BatchNorm, GroupNorm
from lingvo_lite.layers.relative_attention import (
  RelativeAttention,
  RelativePositions,
)
from lingvo_lite.layers.unit_dropout import RampedKeepRate, UnitDropout
from lingvo_lite.models.conformer_config import ConformerConfig, block_name

_NORM_EPSILON = 1e-3


def subsampled_lengths(lengths: Any) -> Any:
  """Returns how many logits come out for `lengths` frames.

  Args:
    lengths: an int, or a tensor or array of them.
  """
  return ((lengths + 1) // 2 + 1) // 2


def build_ctc_model(
  config: ConformerConfig,
  seed: int = 0,
  least_unit_keep_rate: float | RampedKeepRate | None = None,
  output_scaling: bool = True,
) -> tf.keras.Model:
  """Builds a Conformer-CTC model as a functional graph of leaf layers.

  A sub-model (`config.widths`) has the layers and variables of the full model
  by the same names and in the same order, with narrower shapes; the output of
  each narrowed hidden layer is scaled by 1 / keep rate.

  Args:
    config: what to build.
    seed: of the initial values; each variable's own seed also depends on its
      layer's name, so that they do not repeat one another.
    least_unit_keep_rate: if given, training leaves out whole units, as
      `UnitDropout` says. It is a way to train, not a part of the model: the
      variables are the same.
    output_scaling: whether the outputs of narrowed layers are scaled; without,
      their sums are as much smaller as units are missing.

  Returns:
    A model from `[features float32[B, T, F], lengths int32[B]]` to logits
    float32[B, T', V], T' = `subsampled_lengths(T)`; the blank is label V - 1.

  Reference: Gulati et al. 2020, "Conformer".
  """
  return _Builder(config, seed, least_unit_keep_rate, output_scaling).model()


class _Builder:
  """Carries the configuration and the names while the graph is laid."""

  def __init__(
    self,
    config: ConformerConfig,
    seed: int,
    least_unit_keep_rate: float | RampedKeepRate | None,
    output_scaling: bool,
  ):
    self._config = config
    self._seed = seed
    self._output_scaling = output_scaling
    self._least_unit_keep_rate = least_unit_keep_rate

  def model(self) -> tf.keras.Model:
    config = self._config
    features = tf.keras.Input([None, config.num_mel_bins], name="features")
    lengths = tf.keras.Input([], dtype=tf.int32, name="lengths")
    hidden, hidden_lengths = self._subsample(features, lengths)
    positions = RelativePositions(config.d_model, name="positions")(hidden)
    for index in range(config.num_blocks):
      name = block_name(index)
      hidden = self._feed_forward(f"{name}/ffn_start", hidden)
      hidden = self._attention(
        f"{name}/attention", hidden, positions, hidden_lengths
      )
      hidden = self._convolution(f"{name}/conv", hidden, hidden_lengths)
      hidden = self._feed_forward(f"{name}/ffn_end", hidden)
      hidden = self._layer_norm(f"{name}/norm")(hidden)
    logits = self._dense("ctc/logits", config.vocabulary_size)(hidden)
    return tf.keras.Model([features, lengths], logits, name="conformer_ctc")

  def _subsample(self, features, lengths):
    """Two convolutions of stride 2: a frame of 10 ms becomes one of 40 ms."""
    config = self._config
    hidden = AddChannel(name="subsampling/add_channel")(features)
    # Explicit padding: `same` would shift the frames with the parity of T.
    frames = (2, 0) if config.causal else (1, 1)
    for index in range(2):
      name = f"subsampling/conv_{index}"
      hidden = MaskFrames(name=f"{name}/mask")([hidden, lengths])
      hidden = tf.keras.layers.ZeroPadding2D(
        (frames, (1, 1)), name=f"{name}/pad"
      )(hidden)
      hidden = tf.keras.layers.Conv2D(
        config.subsampling_channels,
        kernel_size=3,
        strides=2,
        kernel_initializer=self._initializer(name),
        name=name,
      )(hidden)
      hidden = tf.keras.layers.ReLU(name=f"{name}/relu")(hidden)
      lengths = HalveLengths(name=f"{name}/lengths")(lengths)
    hidden = JoinBins(name="subsampling/join_bins")(hidden)
    hidden = self._dense("subsampling/project", config.d_model)(hidden)
    return self._dropout("subsampling")(hidden), lengths

  def _feed_forward(self, name, inputs):
    units = self._config.units(name)
    hidden = self._layer_norm(f"{name}/norm")(inputs)
    hidden = self._dense(f"{name}/expand", units)(hidden)
    hidden = tf.keras.layers.Activation("swish", name=f"{name}/swish")(hidden)
    hidden = self._make_up_for_dropped(name, hidden)
    hidden = self._dense(f"{name}/contract", self._config.d_model)(hidden)
    hidden = self._dropout(name)(hidden)
    return Residual(0.5, name=f"{name}/residual")([inputs, hidden])

  def _attention(self, name, inputs, positions, lengths):
    config = self._config
    heads = config.units(name)
    width = heads * config.d_model // config.num_heads
    hidden = self._layer_norm(f"{name}/norm")(inputs)
    context = RelativeAttention(
      heads,
      causal=config.causal,
      left_context_frames=config.left_context_frames,
      chunk_frames=config.chunk_frames,
      name=f"{name}/scores",
    )(
      [
        self._dense(f"{name}/query", width)(hidden),
        self._dense(f"{name}/key", width)(hidden),
        self._dense(f"{name}/value", width)(hidden),
        self._dense(f"{name}/position", width, use_bias=False)(positions),
        lengths,
      ]
    )
    context = self._make_up_for_dropped(name, context)
    hidden = self._dense(f"{name}/output", config.d_model)(context)
    hidden = self._dropout(name)(hidden)
    return Residual(name=f"{name}/residual")([inputs, hidden])

  def _convolution(self, name, inputs, lengths):
    config = self._config
    channels = config.d_model * config.units(name) // config.full_units()[name]
    hidden = self._layer_norm(f"{name}/norm")(inputs)
    hidden = self._dense(f"{name}/expand", 2 * channels)(hidden)
    hidden = GatedLinearUnit(name=f"{name}/gate")(hidden)
    hidden = MaskFrames(name=f"{name}/mask")([hidden, lengths])
    around = config.conv_kernel_size - 1
    hidden = tf.keras.layers.ZeroPadding1D(
      (around, 0) if config.causal else (around // 2, around // 2),
      name=f"{name}/pad",
    )(hidden)
    hidden = tf.keras.layers.DepthwiseConv1D(
      config.conv_kernel_size,
      depthwise_initializer=self._initializer(f"{name}/depthwise"),
      name=f"{name}/depthwise",
    )(hidden)
    hidden = self._conv_norm(name)(hidden, lengths)
    hidden = tf.keras.layers.Activation("swish", name=f"{name}/swish")(hidden)
    hidden = self._make_up_for_dropped(name, hidden)
    hidden = self._dense(f"{name}/contract", config.d_model)(hidden)
    hidden = self._dropout(name)(hidden)
    return Residual(name=f"{name}/residual")([inputs, hidden])

  def _conv_norm(self, name) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    config = self._config
    name_of_norm = f"{name}/inner_norm"
    if config.norm == "layer":
      layer = tf.keras.layers.LayerNormalization(
        epsilon=_NORM_EPSILON, name=name_of_norm
      )
      return lambda hidden, lengths: layer(hidden)
    if config.norm == "batch":
      layer = BatchNorm(epsilon=_NORM_EPSILON, name=name_of_norm)
    else:
      layer = GroupNorm(
        groups=config.units(name),
        causal=config.causal,
        epsilon=_NORM_EPSILON,
        name=name_of_norm,
      )
    return lambda hidden, lengths: layer([hidden, lengths])

  def _make_up_for_dropped(self, name, hidden):
    if self._least_unit_keep_rate is not None:
      hidden = UnitDropout(
        self._config.units(name),
        self._least_unit_keep_rate,
        self._layer_seed(f"{name}/unit_dropout"),
        name=f"{name}/unit_dropout",
      )(hidden)
    keep_rate = self._config.keep_rate(name)
    if keep_rate == 1.0 or not self._output_scaling:
      return hidden
    return Scale(1.0 / keep_rate, name=f"{name}/scale")(hidden)

  def _dense(self, name, units, use_bias=True):
    return tf.keras.layers.Dense(
      units,
      use_bias=use_bias,
      kernel_initializer=self._initializer(name),
      name=name,
    )

  def _layer_norm(self, name):
    return tf.keras.layers.LayerNormalization(epsilon=_NORM_EPSILON, name=name)

  def _dropout(self, name):
    # One draw an utterance and channel, not one a frame: it costs a hundredth
    # of the random numbers, which took a quarter of a step on a CPU.
    return tf.keras.layers.Dropout(
      self._config.dropout_rate,
      noise_shape=(None, 1, None),
      seed=self._layer_seed(f"{name}/dropout"),
      name=f"{name}/dropout",
    )

  def _initializer(self, name):
    return tf.keras.initializers.GlorotUniform(seed=self._layer_seed(name))

  def _layer_seed(self, name: str) -> int:
    return zlib.crc32(f"{self._seed}/{name}".encode()) & 0x7FFFFFFF

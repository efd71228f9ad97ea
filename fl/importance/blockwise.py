"""Recognises with many altered copies of one model, block by block.

A probe alters a model from some block on; what comes before computes what it
always did. So the speech goes through the model once, and each probe goes on
from where it differs: on average half of the model, and never the front end,
which alone sees frames of 10 ms.
"""

import contextlib
from collections.abc import Iterator, Sequence

import tensorflow as tf

from fl.importance.error_counts import ErrorCounts, count_errors
from fl.importance.probes import Probe
from lingvo_lite.data.batching import eval_batches
from lingvo_lite.data.examples import Example
from lingvo_lite.decoding.greedy import greedy_decode
from lingvo_lite.models.conformer_config import ConformerConfig, block_name
from lingvo_lite.models.ctc_model import subsampled_lengths
from lingvo_lite.stage.errors import InputError
from lingvo_lite.text.vocabulary import CharacterVocabulary

_HIDDEN_LENGTHS = "subsampling/conv_1/lengths"
_FRONT_END = "subsampling/dropout"
_POSITIONS = "positions"
_LOGITS = "ctc/logits"


class BlockwiseRecognizer:
  """Measures a model as it is, and with parts of it reset.

  The model holds its own values again after each probe, however it ends.

  Args:
    model: what `build_ctc_model(config)` made, trained.
    config: its configuration.
    examples: what to recognise, every time.
    vocabulary: what the labels mean.
    batch_size: utterances a pass.
  """

  def __init__(
    self,
    model: tf.keras.Model,
    config: ConformerConfig,
    examples: Sequence[Example],
    vocabulary: CharacterVocabulary,
    batch_size: int = 16,
  ) -> None:
    self._model = model
    self._vocabulary = vocabulary
    self._references = [vocabulary.decode(e.labels) for e in examples]
    self._batches = list(eval_batches(examples, batch_size))
    self._blocks = [block_name(index) for index in range(config.num_blocks)]

    def output(name: str) -> tf.Tensor:
      return model.get_layer(name).output

    lengths, positions = output(_HIDDEN_LENGTHS), output(_POSITIONS)
    hidden = output(_FRONT_END)
    self._front_end = _graph(
      tf.keras.Model(model.inputs, [hidden, positions, lengths])
    )
    self._steps = []
    for block in self._blocks:
      after = output(f"{block}/norm")
      self._steps.append(
        _graph(tf.keras.Model([hidden, positions, lengths], after))
      )
      hidden = after
    self._head = _graph(tf.keras.Model(hidden, output(_LOGITS)))

  def measure(
    self, probes: Sequence[Probe]
  ) -> tuple[ErrorCounts, list[ErrorCounts]]:
    """Counts word errors of the model as it is, and of each probe.

    Args:
      probes: of parts within the blocks, in any order.

    Returns:
      The counts of the model itself, and those of the probes in their order.

    Raises:
      InputError: a part is not of this model's blocks.
    """
    starts = [self._first_block(probe) for probe in probes]
    counts: dict[int, ErrorCounts] = {}
    state = [
      self._front_end(batch["features"], batch["lengths"])
      for batch in self._batches
    ]
    for place in range(len(self._blocks)):
      for number, probe in enumerate(probes):
        if starts[number] == place:
          with _altered(self._model, probe):
            counts[number] = self._finish(state, place)
      state = [self._through(place, *each) for each in state]
    baseline = self._finish(state, len(self._blocks))
    return baseline, [counts[number] for number in range(len(probes))]

  def _first_block(self, probe: Probe) -> int:
    altered = {
      variable.name.split("/")[0]
      for variable in self._model.variables
      if probe.part.holds(variable.name)
    }
    if not altered or not altered.issubset(self._blocks):
      raise InputError(
        f"found no variables of {probe.part.name}, expected a group or block of"
        f" this model, such as {self._blocks[0]}"
      )
    return self._blocks.index(min(altered))

  def _through(self, place, hidden, positions, lengths):
    hidden = self._steps[place](hidden, positions, lengths)
    return hidden, positions, lengths

  def _finish(self, state, place: int) -> ErrorCounts:
    """Goes on from before a block to the words."""
    heard = [""] * len(self._references)
    for batch, each in zip(self._batches, state, strict=True):
      for later in range(place, len(self._blocks)):
        each = self._through(later, *each)
      labels = greedy_decode(
        self._head(each[0]).numpy(),
        subsampled_lengths(batch["lengths"]).numpy(),
        self._vocabulary.blank_id,
      )
      for index, ids in zip(batch["index"].numpy(), labels, strict=True):
        heard[index] = self._vocabulary.decode(ids)
    return count_errors(self._references, heard)


def _graph(model: tf.keras.Model) -> tf.function:
  """Traces a model once for all shapes; its weights may change."""
  one = len(model.inputs) == 1

  def call(*inputs):
    return model(inputs[0] if one else list(inputs), training=False)

  return tf.function(
    call,
    input_signature=[tf.TensorSpec(i.shape, i.dtype) for i in model.inputs],
  )


@contextlib.contextmanager
def _altered(model: tf.keras.Model, probe: Probe) -> Iterator[None]:
  """Puts a probe's values in, and the model's own back."""
  variables = [v for v in model.variables if probe.part.holds(v.name)]
  own = [variable.numpy() for variable in variables]
  try:
    for variable in variables:
      variable.assign(probe.values[variable.name])
    yield
  finally:
    for variable, value in zip(variables, own, strict=True):
      variable.assign(value)

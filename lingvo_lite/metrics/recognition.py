"""What a Keras model makes of a set of utterances."""

from collections.abc import Sequence

import tensorflow as tf

from lingvo_lite.data.batching import eval_batches
from lingvo_lite.data.examples import Example
from lingvo_lite.decoding.greedy import greedy_decode
from lingvo_lite.metrics.word_error_rate import word_error_rate
from lingvo_lite.models.ctc_model import subsampled_lengths
from lingvo_lite.text.vocabulary import CharacterVocabulary


class Recognizer:
  """Recognises with a model whose weights may change between calls.

  The graph is traced once, whatever the weights and lengths are: probing a
  model's layers costs passes, not traces.

  Args:
    model: `[features, lengths]` to logits.
    examples: what to recognise, every time.
    vocabulary: what the labels mean.
    batch_size: utterances a pass.
  """

  def __init__(
    self,
    model: tf.keras.Model,
    examples: Sequence[Example],
    vocabulary: CharacterVocabulary,
    batch_size: int = 16,
  ) -> None:
    self._examples = list(examples)
    self._vocabulary = vocabulary
    # Features are small beside the passes; batches are kept as they are.
    self._batches = list(eval_batches(examples, batch_size))
    self._logits = tf.function(
      lambda features, lengths: model([features, lengths], training=False),
      input_signature=[
        tf.TensorSpec([None, *model.inputs[0].shape[1:]], tf.float32),
        tf.TensorSpec([None], tf.int32),
      ],
    )

  @property
  def references(self) -> list[str]:
    """What was said, in the order of the examples."""
    return [self._vocabulary.decode(e.labels) for e in self._examples]

  def hypotheses(self) -> list[str]:
    """What the model hears now, in the order of the examples."""
    heard = [""] * len(self._examples)
    for batch in self._batches:
      logits = self._logits(batch["features"], batch["lengths"]).numpy()
      lengths = subsampled_lengths(batch["lengths"]).numpy()
      decoded = greedy_decode(logits, lengths, self._vocabulary.blank_id)
      for index, labels in zip(batch["index"].numpy(), decoded, strict=True):
        heard[index] = self._vocabulary.decode(labels)
    return heard

  def word_error_rate(self) -> float:
    """The model's word error rate now."""
    return word_error_rate(self.references, self.hypotheses())

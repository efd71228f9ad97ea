"""How much a speaker gains from training the model on its own speech alone."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from fl.dropout.selection import RandomUnits
from fl.dropout.sub_model import SubModel, VariableSpec
from fl.dropout.tiers import one_tier
from fl.importance.error_counts import count_errors
from fl.processes.client_work import LocalTraining, build_client_work
from fl.processes.distributor import build_distributor
from fl.speaker_rates import speaker_rates
from lingvo_lite.data.utterance import Utterance
from lingvo_lite.stage.errors import InputError


class ClientBatches(Protocol):
  """What clients train on; see `ClientData`."""

  @property
  def batch_spec(self) -> Mapping[str, tf.TensorSpec]:
    """What every client's data set is made of."""

  def __len__(self) -> int:
    """How many clients there are."""

  def batches(self, client: int, earlier_rounds: int) -> tf.data.Dataset:
    """Returns what a client trains on in a round."""


class Personalization:
  """Trains the whole model on each client, and keeps what it made of it.

  The client does what it does in a round of federated training; but nothing is
  averaged, and the result stays where it was made.

  Args:
    specs: the model's variables.
    training: what a client does.
    data: the clients' speech.
  """

  def __init__(
    self,
    specs: Sequence[VariableSpec],
    training: LocalTraining,
    data: ClientBatches,
  ) -> None:
    self._data = data
    whole = RandomUnits(SubModel(specs, [], {}), training.seed, "client")
    everyone = one_tier(whole, len(data))
    self._out = build_distributor(everyone)
    self._work = build_client_work([training], everyone, data.batch_spec)

  def weights(
    self, weights: np.ndarray, clients: Sequence[int]
  ) -> list[np.ndarray]:
    """Returns each client's own weights, float32[P].

    Args:
      weights: float32[P], that all of them begin with.
      clients: their numbers.

    Raises:
      InputError: training a client came to no finite weights.
    """
    keys = [np.array([client], np.int32) for client in clients]
    batches = [self._data.batches(client, 0) for client in clients]
    sent = self._out.next(self._out.initialize(), weights, keys).result
    done = self._work.next(self._work.initialize(), sent, keys, batches)
    rejected = sum(int(count) for count in done.measurements["rejected"])
    if rejected:
      raise InputError(
        f"found {rejected} of {len(clients)} clients whose weights grew beyond"
        " all bounds, expected none: use a lower --learning_rate"
      )
    return [weights - message.update for message in done.result]


def split_alternating(
  utterances: Sequence[Utterance],
) -> tuple[list[Utterance], list[Utterance]]:
  """Gives every other utterance of each speaker to training.

  Args:
    utterances: in any order; each speaker's are taken by id.

  Returns:
    `(train, measured)`, disjoint, together all utterances.
  """
  halves: tuple[list[Utterance], list[Utterance]] = ([], [])
  counts: collections.Counter[str] = collections.Counter()
  for utterance in sorted(utterances, key=lambda u: u.id):
    halves[counts[utterance.speaker] % 2].append(utterance)
    counts[utterance.speaker] += 1
  return halves


def personal_rates(
  speakers: Sequence[str],
  references: Sequence[str],
  before: Sequence[str],
  after: Sequence[str],
) -> dict[str, Any]:
  """Compares what the common and the personal models heard, nobody by name.

  Args:
    speakers: who said each utterance.
    references: what was said; none of them empty.
    before: what the common model heard.
    after: what the speaker's own model heard.

  Returns:
    `before` and `after`, quantiles over speakers (see `speaker_rates`), and how
    many `speakers_better` and `speakers_worse` there are, by their errors.
  """
  change: collections.Counter[str] = collections.Counter()
  for sign, heard in ((-1, before), (1, after)):
    errors = count_errors(references, heard).errors
    for speaker, wrong in zip(speakers, errors, strict=True):
      change[speaker] += sign * int(wrong)
  return {
    "before": speaker_rates(speakers, references, before),
    "after": speaker_rates(speakers, references, after),
    "speakers_better": sum(value < 0 for value in change.values()),
    "speakers_worse": sum(value > 0 for value in change.values()),
  }

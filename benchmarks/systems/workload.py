"""What every system does in a round: the same steps on the same batches."""

import dataclasses
import json

import numpy as np

MEL_BINS = 80
_FRAMES_A_LABEL = 8
# Of the clients' Adam.
LEARNING_RATE = 1e-3
EPSILON = 1e-5
CLIP_NORM = 1.0


@dataclasses.dataclass(frozen=True)
class Workload:
  """Some clients that each take some steps.

  Attributes:
    preset: the model's size, a name in `PRESETS`.
    clients: who take part in each round.
    steps: of a client in a round.
    batch_size: utterances a step.
    frames: of an utterance, 10 ms each.
  """

  preset: str
  clients: int
  steps: int
  batch_size: int
  frames: int

  @classmethod
  def from_argument(cls, text: str) -> "Workload":
    """Reads what `to_argument` wrote."""
    return cls(**json.loads(text))

  def to_argument(self) -> str:
    """Writes it down for a command line."""
    return json.dumps(dataclasses.asdict(self))

  def batches(self, client: int) -> dict[str, np.ndarray]:
    """Returns noise with random labels.

    Args:
      client: its number, which the noise follows from.

    Returns:
      `features` float32[steps, batch, frames, mel bins], `lengths`
      int32[steps, batch], `labels` int32[steps, batch, labels] and
      `label_lengths` int32[steps, batch]. In the alphabet's order, which is
      that of TFF's types.
    """
    draw = np.random.default_rng(client)
    shape = [self.steps, self.batch_size]
    labels = self.frames // _FRAMES_A_LABEL
    return {
      "features": draw.normal(size=[*shape, self.frames, MEL_BINS]).astype(
        np.float32
      ),
      "label_lengths": np.full(shape, labels, np.int32),
      "labels": draw.integers(1, 20, [*shape, labels], np.int32),
      "lengths": np.full(shape, self.frames, np.int32),
    }

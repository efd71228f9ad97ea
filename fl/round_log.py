"""What is written for people to watch while a run goes on."""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

import tensorflow_federated as tff


class RoundLog:
  """`rounds.csv` and TensorBoard events below a run's work folder.

  A row of a round that was written before is written over, so that a resumed
  run leaves one row for each round.

  Args:
    folder: the work folder.
    keep_rates: of the groups in the clients' sub-models, by tier, for
      TensorBoard.
  """

  def __init__(
    self, folder: str, keep_rates: Mapping[str, Mapping[str, float]]
  ) -> None:
    self._keep_rates = {k: dict(v) for k, v in keep_rates.items()}
    os.makedirs(folder, exist_ok=True)
    self._csv = tff.program.CSVFileReleaseManager(
      os.path.join(folder, "rounds.csv"),
      # Not by appending: a kill in the middle would leave half a row.
      tff.program.CSVSaveMode.WRITE,
      key_fieldname="round",
    )
    self._events = tff.program.TensorBoardReleaseManager(
      os.path.join(folder, "tensorboard")
    )

  def write(self, row: dict[str, Any]) -> None:
    """Writes a round's row, whose `round` counts from 1."""
    values = {name: value for name, value in row.items() if name != "round"}

    async def release() -> None:
      await self._csv.release(values, row["round"])
      await self._events.release(
        {**values, "keep_rate": self._keep_rates}, row["round"]
      )

    asyncio.run(release())

"""Clients of several sizes in one round: each device tier has sub-models."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from fl.dropout.selection import UnitSelection
from lingvo_lite.stage.errors import InputError


@dataclasses.dataclass(frozen=True)
class Tiers:
  """Which units each client gets, where not all get sub-models of one size.

  TFF has one type for what all clients send. Where tiers differ, the length of
  a vector is not in it: it is static in each tier's branch of the graph.

  Attributes:
    names: of the tiers, for people.
    selections: which units a tier's clients get, of each tier.
    of_client: the number of each client's tier, in the order of the clients'
      numbers.

  Raises:
    InputError: there is no tier, or one without clients.
  """

  names: tuple[str, ...]
  selections: tuple[UnitSelection, ...]
  of_client: tuple[int, ...]

  def __post_init__(self):
    if set(self.of_client) != set(range(len(self.selections))):
      raise InputError(
        f"found clients in the tiers {sorted(set(self.of_client))}, expected"
        f" some in each of the {len(self.selections)} tiers and in no other:"
        " leave out tiers that nobody is in"
      )

  @property
  def server_params(self) -> int:
    """Of the full model."""
    return self.selections[0].sub_model.server_params

  @property
  def client_params(self) -> int | None:
    """Of all clients' sub-models; None if tiers differ."""
    sizes = {s.sub_model.client_params for s in self.selections}
    return sizes.pop() if len(sizes) == 1 else None

  @property
  def largest_client_params(self) -> int:
    """Of the largest tier's sub-model."""
    return max(s.sub_model.client_params for s in self.selections)

  def branch(self, client: tf.Tensor, of_tier: Callable[[int], Any]) -> Any:
    """Does what is to be done with a client of its tier; inside a graph.

    Args:
      client: int32[], its number.
      of_tier: from a tier's number to tensors, of the same structure and types
        for all tiers. Called for each tier, to lay its part of the graph.

    Returns:
      What came of the client's tier.
    """
    if len(self.selections) == 1:
      return of_tier(0)
    return tf.switch_case(
      tf.gather(tf.constant(self.of_client), client),
      [
        functools.partial(of_tier, tier) for tier in range(len(self.selections))
      ],
    )

  def extract(
    self, full: tf.Tensor, round_number: tf.Tensor, client: tf.Tensor
  ) -> tf.Tensor:
    """Cuts a client's sub-model out: float32[server_params] -> float32[p]."""

    def of_tier(tier: int) -> tf.Tensor:
      selection = self.selections[tier]
      units = selection.units(round_number, client)
      return selection.sub_model.extract(full, units)

    return self.branch(client, of_tier)

  def scatter_add(
    self,
    full: list[tf.Tensor],
    parts: list[tf.Tensor],
    round_number: tf.Tensor,
    client: tf.Tensor,
  ) -> list[tf.Tensor]:
    """Adds a client's float32[p] vectors into float32[server_params] ones.

    What the vectors have after their first p values is not looked at.
    """

    def of_tier(tier: int) -> list[tf.Tensor]:
      selection = self.selections[tier]
      params = selection.sub_model.client_params
      return selection.sub_model.scatter_add(
        full,
        [tf.ensure_shape(part[:params], [params]) for part in parts],
        selection.units(round_number, client),
      )

    return self.branch(client, of_tier)


def one_tier(selection: UnitSelection, num_clients: int) -> Tiers:
  """Returns the tiers of clients that are all alike."""
  return Tiers(("all",), (selection,), (0,) * num_clients)

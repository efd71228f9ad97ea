"""What crosses the placement each round, and how many bytes it takes."""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff


class ServerMessage(NamedTuple):
  """What a client receives.

  Attributes:
    weights: a sequence of one float32[p], the client's slices of the model;
      a sequence because that is what `tff.federated_select` sends.
    round_number: int32[], from 0.
  """

  weights: tf.data.Dataset
  round_number: tf.Tensor


class ClientMessage(NamedTuple):
  """What a client sends back.

  Attributes:
    update: float32[p], weights before minus weights after local training, the
      client's slices alone.
    weight: float32[], how many examples it trained on; 0 if its update was
      turned down, and is then all zeros.
    loss: float32[], mean over its local steps.
    round_number: int32[], as received.
    client: int32[], its number among all clients.
  """

  update: tf.Tensor
  weight: tf.Tensor
  loss: tf.Tensor
  round_number: tf.Tensor
  client: tf.Tensor


class Rejections(NamedTuple):
  """What the server turned down, and why; one of them is 1 at most.

  Attributes:
    misshapen: int32[], an update of another size.
    not_finite: int32[], one with a NaN or an infinite value.
    oversized: int32[], one whose norm was above the largest allowed.
  """

  misshapen: tf.Tensor
  not_finite: tf.Tensor
  oversized: tf.Tensor


def server_message_type(params: int | None) -> tff.Type:
  """Returns the type of what a client receives.

  Args:
    params: of its sub-model; None: clients have different ones.
  """
  return tff.to_type(
    ServerMessage(
      tff.SequenceType(tff.TensorType(np.float32, [params])), np.int32
    )
  )


def client_message_type(params: int | None) -> tff.Type:
  """Returns the type of what a client sends; see `server_message_type`."""
  return tff.to_type(
    ClientMessage(
      tff.TensorType(np.float32, [params]),
      np.float32,
      np.float32,
      np.int32,
      np.int32,
    )
  )


def type_bytes(type_spec: tff.Type) -> int:
  """Counts the bytes of a TFF type's tensors, all of static shape.

  TFF checks every value that it moves against its type: the count is that of
  the real tensors. A sequence counts as one element of it.
  """
  if isinstance(type_spec, tff.FederatedType):
    return type_bytes(type_spec.member)
  if isinstance(type_spec, tff.SequenceType):
    return type_bytes(type_spec.element)
  if isinstance(type_spec, tff.StructType):
    return sum(type_bytes(element) for element in type_spec)
  return math.prod(type_spec.shape) * tf.as_dtype(type_spec.dtype).size

"""Bytes that cross between the server and a client in a round.

`fl/processes/messages.py` has the messages themselves; the two are compared
when a process is built.
"""


def download_bytes(client_params: int) -> int:
  """Bytes that a client receives: float32 weights and the round's number."""
  return 4 * client_params + 4


def upload_bytes(client_params: int) -> int:
  """Bytes that a client sends: a float32 update and four 4-byte numbers."""
  return 4 * client_params + 16

"""What can go wrong with a worker."""


class WorkerLostError(RuntimeError):
  """A worker died or cannot be reached; what it was computing is lost."""

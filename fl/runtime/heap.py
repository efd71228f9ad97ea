"""Memory that was freed, back to the system."""

import ctypes

# For a program of its own: tensors are given back when they are freed, not kept
# for the next ones, and threads share heaps. As glibc has it, a worker's heaps
# grew for hundreds of rounds, full of holes.
FLAT_HEAP = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "1048576"}


def give_back_freed_memory() -> None:
  """Gives pages that nothing is in back to the system, where it is glibc's.

  TensorFlow's threads leave holes all over the heap: without this, a trainer
  grows by megabytes a round though it holds nothing new.
  """
  trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
  if trim is not None:
    trim(0)

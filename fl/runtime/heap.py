"""Memory that was freed, back to the system."""

import ctypes


def few_heaps(threads: int) -> dict[str, str]:
  """Returns what to put into a program's environment to keep its memory flat.

  glibc gives each thread a heap of its own, up to eight a core, and each keeps
  holes where tensors were: a worker grew for hundreds of rounds. Threads that
  share as many heaps as there are cores fill each other's holes, and are as
  fast. (Mapping every large tensor by itself, `MALLOC_MMAP_THRESHOLD_`, leaves
  no holes either, but each tensor's pages are then cleared and faulted in anew:
  it made a round take 1.3 times the processor's time.)

  Args:
    threads: how many of the program's threads compute at a time.
  """
  return {"MALLOC_ARENA_MAX": str(max(2, threads))}


def give_back_freed_memory() -> None:
  """Gives pages that nothing is in back to the system, where it is glibc's.

  TensorFlow's threads leave holes all over the heap: without this, a trainer
  grows by megabytes a round though it holds nothing new.
  """
  trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
  if trim is not None:
    trim(0)

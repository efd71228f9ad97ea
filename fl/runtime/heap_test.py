"""Freed memory goes back to the system."""

import psutil
from absl.testing import absltest

from fl.runtime.heap import give_back_freed_memory

_PIECES = 200_000
_PIECE_BYTES = 1000


class HeapTest(absltest.TestCase):
  def test_holes_in_the_heap_are_given_back(self):
    pieces = [bytes(_PIECE_BYTES) for _ in range(_PIECES)]
    # Something stays at the end of the heap, and keeps it from shrinking.
    last = bytes(_PIECE_BYTES)
    full = psutil.Process().memory_info().rss
    pieces.clear()
    give_back_freed_memory()
    given_back = full - psutil.Process().memory_info().rss
    self.assertGreater(given_back, 0.9 * _PIECES * _PIECE_BYTES)
    self.assertLen(last, _PIECE_BYTES)


if __name__ == "__main__":
  absltest.main()

"""Walks the tables of a flatbuffer, whoever made it, in bounds and in time.

Standard library only.
"""

import struct
from collections.abc import Iterator

_MAX_TABLES = 200_000


class UnsafeError(Exception):
  """What is wrong, for the one place that turns it into InputError."""


class Table:
  """A table whose own bytes lie in the file.

  Args:
    reader: of the file.
    position: where the table is.
    fields: how many the schema has; what a newer one adds is not checked, so it
      must not be there.
  """

  def __init__(self, reader: "Reader", position: int, fields: int):
    self._reader = reader
    self._position = position
    self._inline, self._offsets = reader.form(
      position - reader.number("<i", position)
    )
    reader.require(position, self._inline)
    if len(self._offsets) > fields:
      raise UnsafeError("a field that this release does not know")
    reader.spend()

  def place(self, slot: int, size: int) -> int | None:
    """Returns where a field's bytes begin; None: it is left out."""
    if slot >= len(self._offsets):
      return None
    offset = self._offsets[slot]
    if not offset:
      return None
    if offset < 4 or offset + size > self._inline:
      raise UnsafeError("a field outside its table")
    return self._position + offset

  def scalar(self, slot: int, form: str, default: int) -> int:
    place = self.place(slot, struct.calcsize(form))
    return default if place is None else self._reader.number(form, place)

  def check_small_fields(self) -> None:
    """Checks that fields of up to four bytes, whichever, lie in the file."""
    for slot in range(len(self._offsets)):
      place = self.place(slot, 1)
      if place is not None:
        self._reader.require(place, 4)

  def table(self, slot: int, fields: int) -> "Table | None":
    place = self.place(slot, 4)
    if place is None:
      return None
    target = place + self._reader.number("<I", place)
    return Table(self._reader, target, fields)

  def vector(self, slot: int, size: int) -> tuple[int, int]:
    """Returns where a vector's elements begin, and how many there are."""
    place = self.place(slot, 4)
    if place is None:
      return 0, 0
    start = place + self._reader.number("<I", place)
    count = self._reader.number("<I", start)
    self._reader.require(start + 4, count * size)
    return start + 4, count

  def numbers(self, slot: int, code: str) -> tuple[int, ...]:
    """Returns a vector of numbers; `code` as in `struct`."""
    start, count = self.vector(slot, struct.calcsize("<" + code))
    self._reader.spend(count)
    return struct.unpack_from(f"<{count}{code}", self._reader.contents, start)

  def text(self, slot: int) -> bytes:
    start, count = self.vector(slot, 1)
    if count:
      self._reader.require(start, count + 1)  # Native code wants its zero byte.
      if self._reader.contents[start + count]:
        raise UnsafeError("a string without an end")
    return self._reader.contents[start : start + count]

  def table_of(self, slot: int, index: int, fields: int) -> "Table":
    """Returns one table of a vector of them."""
    start, count = self.vector(slot, 4)
    if not 0 <= index < count:
      raise UnsafeError(f"the table {index} of {count}")
    place = start + 4 * index
    target = place + self._reader.number("<I", place)
    return Table(self._reader, target, fields)

  def tables(self, slot: int, fields: int) -> Iterator["Table"]:
    start, count = self.vector(slot, 4)
    for index in range(count):
      place = start + 4 * index
      target = place + self._reader.number("<I", place)
      yield Table(self._reader, target, fields)


class Reader:
  """Reads numbers inside a file, and only so many tables."""

  def __init__(self, contents: bytes):
    self.contents = contents
    self._size = len(contents)
    self._left = _MAX_TABLES
    self._forms: dict[int, tuple[int, tuple[int, ...]]] = {}

  def number(self, form: str, place: int) -> int:
    # Less than 0 would be counted from the end.
    if place >= 0:
      try:
        return struct.unpack_from(form, self.contents, place)[0]
      except struct.error:
        pass
    raise UnsafeError("an offset outside the file")

  def require(self, place: int, size: int) -> None:
    if place < 0 or place + size > self._size:
      raise UnsafeError("an offset outside the file")

  def form(self, vtable: int) -> tuple[int, tuple[int, ...]]:
    """Returns a table's bytes and where in it its fields are; 0: left out.

    Tables of one form share it: it is read once, since this check is a good
    part of what opening a file takes.
    """
    if vtable not in self._forms:
      size = self.number("<H", vtable)
      inline = self.number("<H", vtable + 2)
      if size < 4 or size % 2 or inline < 4:
        raise UnsafeError("a table without a form")
      self.require(vtable, size)
      self.spend(size // 2)
      offsets = struct.unpack_from(
        f"<{size // 2 - 2}H", self.contents, vtable + 4
      )
      if max(offsets, default=0) >= inline:
        raise UnsafeError("a field outside its table")
      fields = max((i + 1 for i, at in enumerate(offsets) if at), default=0)
      self._forms[vtable] = inline, offsets[:fields]
    return self._forms[vtable]

  def spend(self, amount: int = 1) -> None:
    # Tables may share parts; a small file could unfold to any size.
    self._left -= amount
    if self._left < 0:
      raise UnsafeError(f"more than {_MAX_TABLES} parts")

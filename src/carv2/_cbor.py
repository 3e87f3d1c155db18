"""Just the CBOR that a CAR header is made of, read as leniently as go-car reads it.

Rules: RFC 8949 for the encoding; which shapes are accepted follows the reference's header decoder, which
takes keys in any order, lengths that are not the shortest, indefinite lengths, tags it does not know and
bytes behind the map. A header is two levels deep, so nothing here recurses.
"""

from __future__ import annotations

from typing import NamedTuple

from carv2.errors import FormatError

UINT, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAG, SIMPLE = range(8)
INDEFINITE = -1
NULL, UNDEFINED = 22, 23
LINK_TAG = 42


class Head(NamedTuple):
    """The first byte of an item and its argument; tags in front of it are behind us."""

    major: int
    argument: int
    """A number or a count; :data:`INDEFINITE` where the item says so."""
    at: int
    """Offset of the item's first byte, its tag left out."""

    @property
    def is_null(self) -> bool:
        return self.major == SIMPLE and self.argument in {NULL, UNDEFINED}


class Reader:
    """Items in turn out of ``data``, whose first byte is at file position ``position``."""

    def __init__(self, data: bytes, *, position: int) -> None:
        self._data, self._position, self.at = data, position, 0

    def fail(self, message: str, at: int | None = None) -> FormatError:
        """An error that knows where."""
        return FormatError(f"CARv1 header: {message}", position=self._position + (self.at if at is None else at))

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes, all of them."""
        if size > len(self._data) - self.at:
            raise self.fail(f"an item of {size} bytes does not fit into the header", at=len(self._data))
        self.at += size
        return self._data[self.at - size : self.at]

    def head(self) -> Head:
        """The next item's head; one tag in front of it is skipped, two are refused."""
        head = self._bare_head()
        if head.major != TAG:
            return head
        head = self._bare_head()
        if head.major == TAG:
            raise self.fail("two tags on one item", head.at)
        return head

    def _bare_head(self) -> Head:
        at = self.at
        first = self.take(1)[0]
        major, info = first >> 5, first & 31
        if info < 24:
            return Head(major, info, at)
        if info < 28:
            argument = int.from_bytes(self.take(1 << (info - 24)), "big")
            if major == SIMPLE:  # a float, or a simple value that means nothing here
                argument = 256
            return Head(major, argument, at)
        if info == 31 and major in {BYTES, TEXT, ARRAY, MAP}:
            return Head(major, INDEFINITE, at)
        raise self.fail(f"byte {first:#04x} is no CBOR item", at)

    def string(self, head: Head) -> bytes:
        """The bytes of a byte or text string whose head has been read."""
        if head.argument != INDEFINITE:
            return self.take(head.argument)
        content = bytearray()  # a list of chunks, which may be empty, would take 80 times their size
        while not self.at_break():
            chunk = self._bare_head()
            if chunk.major != head.major or chunk.argument == INDEFINITE:
                raise self.fail("a string's chunk is not of its kind", chunk.at)
            content += self.take(chunk.argument)
        return bytes(content)

    def at_break(self) -> bool:
        """Step over the byte that ends an indefinite item, if it is next."""
        if self._data[self.at : self.at + 1] != b"\xff":
            return False
        self.at += 1
        return True

    def more(self, head: Head, done: int) -> bool:
        """Whether a map or array has another entry, after ``done`` of them."""
        return not self.at_break() if head.argument == INDEFINITE else done < head.argument

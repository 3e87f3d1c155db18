"""The fields of both headers. They describe; what is wrong is for :mod:`carv2.header` to say."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from carv2 import _cbor, _varint
from carv2.cid import CID
from carv2.errors import FormatError
from carv2.header import FULLY_INDEXED, SIZE
from carv2.operations._explain_parts import Field, Window, cid_part_fields, cid_text, count_of, heading

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from carv2._cbor import Head
    from carv2.units import Limits

_MAX_ROOTS = 16
_KINDS = ("unsigned integer", "negative integer", "byte string", "text", "list", "map", "tag", "simple value")


def car_v1_fields(buffer: bytes, title: str, depth: int, *, position: int, limits: Limits) -> Iterator[Field]:
    """The header at the front of ``buffer``, or as much of it as makes sense."""
    window = Window(buffer, position)
    try:
        size, start = _varint.decode(buffer, 0, len(buffer), position=position)
    except FormatError:
        return
    stop = min(start + size, len(buffer))
    yield heading(position, stop, depth, title)
    yield window.field(0, start, depth + 1, "header length", count_of(size, "byte"))
    if size > limits.header:
        return
    with contextlib.suppress(FormatError):
        yield from _HeaderWalk(Window(buffer[start:stop], position + start), depth + 1).fields()


def car_v2_fields(raw: bytes, depth: int, *, position: int) -> Iterator[Field]:
    """The 40 bytes behind the pragma, or the whole numbers of what is there of them."""
    unwritten = len(raw) == SIZE and not any(raw)
    note = "all zeros: its writer did not finish" if unwritten else ""
    yield heading(position, len(raw), depth, "CARv2 header", note)
    window = Window(raw, position)
    sizes = {"characteristics": 16, "data offset": 8, "data size": 8, "index offset": 8}
    at = 0
    for meaning, size in sizes.items():
        if at + size > len(raw):
            return
        part = raw[at : at + size]
        number = int.from_bytes(part, "big") if meaning == "characteristics" else int.from_bytes(part, "little")
        value = _v2_text(meaning, number)
        yield window.field(at, at + size, depth + 1, meaning, value)
        at += size


def _v2_text(meaning: str, number: int) -> str:
    if meaning == "characteristics":
        other = number & ~FULLY_INDEXED
        known = f"fully indexed: {'yes' if number & FULLY_INDEXED else 'no'}"
        return f"{known}; bits without a meaning: {other:#034x}" if other else known
    if meaning == "data size":
        return count_of(number, "byte")
    if meaning == "index offset" and number == 0:
        return "0: there is no index"
    return str(number)


class _HeaderWalk:
    """Goes through a header's CBOR item by item, as the header reader does; stops where that one would fail."""

    def __init__(self, body: Window, depth: int) -> None:
        self._body, self._depth = body, depth
        self._cbor = _cbor.Reader(body.buffer, position=body.position)
        self._version = 0

    def fields(self) -> Iterator[Field]:
        """All of the header behind its length."""
        head = yield from self._head("map")
        if head.major == _cbor.MAP:
            known = yield from self._entries(head)
            if not known:
                return
        elif not head.is_null:
            return
        at, end = self._cbor.at, len(self._body.buffer)
        if at < end:
            why = "ignored; not canonical: the header ends with its map"
            yield self._field(at, end, "bytes behind the map", f"{count_of(end - at, 'byte')}, {why}")

    def _entries(self, head: Head) -> Generator[Field, None, bool]:
        """Keys and values of the map; whether it went to its end."""
        seen: list[bytes] = []
        at, count = self._cbor.at, 0
        while self._cbor.more(head, count):
            key = yield from self._key(seen)
            if key == b"version":
                known = yield from self._version_number()
            elif key == b"roots":
                known = yield from self._roots()
            else:
                return False
            if not known:
                return False
            seen = [*{*seen, key}]
            at, count = self._cbor.at, count + 1
        if self._cbor.at > at:
            yield self._field(at, self._cbor.at, "end of the map")
        if b"roots" not in seen and self._version == 1:
            yield self._field(at, at, "roots", "absent: none; not canonical: no roots are an empty list, 80")
        return True

    def _key(self, seen: list[bytes]) -> Generator[Field, None, bytes | None]:
        head = yield from self._head("key")
        if head.major != _cbor.TEXT:
            return None
        at = self._cbor.at
        key = self._cbor.string(head)
        notes = [repr(key[:40].decode("utf-8", "backslashreplace"))]
        if key in seen:
            notes.append("not canonical: it comes twice, the last one counts")
        elif key == b"roots" and seen:
            notes.append("not canonical: roots come before the version")
        yield self._field(at, self._cbor.at, "key text", "; ".join(notes))
        return key

    def _version_number(self) -> Generator[Field, None, bool]:
        head = yield from self._head("version")
        self._version = head.argument
        return head.major == _cbor.UINT

    def _roots(self) -> Generator[Field, None, bool]:
        """The list of roots; whether it went to its end."""
        head = yield from self._head("roots")
        if head.major != _cbor.ARRAY:
            return head.is_null
        first = at = self._cbor.at
        count = 0
        while self._cbor.more(head, count):
            root = self._root()
            count += 1
            if count <= _MAX_ROOTS:
                first = self._cbor.at
            if count <= _MAX_ROOTS or not root.good:
                yield from self._root_fields(root, count)
            if not root.good:
                return False
            at = self._cbor.at
        if count > _MAX_ROOTS:
            more = count_of(count - _MAX_ROOTS, "more root")
            yield self._field(first, at, f"... {more}")
        if self._cbor.at > at:
            yield self._field(at, self._cbor.at, "end of the roots")
        return True

    def _root(self) -> _Root:
        start = self._cbor.at
        head = self._cbor.head()
        item = self._cbor.at
        raw = self._cbor.string(head) if head.major == _cbor.BYTES else b""
        try:
            good = raw[:1] == b"\x00" and bool(CID(raw[1:]).parts)
        except FormatError:
            good = False
        return _Root(start, head, item, self._cbor.at, raw, good)

    def _root_fields(self, root: _Root, number: int) -> Iterator[Field]:
        depth, head = self._depth + 1, root.head
        text = cid_text(root.raw[1:]) if root.good else f"{_KINDS[head.major]}, no CID"
        yield heading(self._body.position + root.start, root.end - root.start, depth - 1, f"root {number}", text)
        notes = [] if head.at > root.start else ["not canonical: no tag 42 in front"]
        if head.at > root.start:
            yield self._tag(root.start, head.at, depth, "a link")
        notes = [self._count_text(head, root.content, "byte"), *notes]
        yield self._field(head.at, root.content, _KINDS[head.major], "; ".join(notes), depth)
        if head.major != _cbor.BYTES:
            return
        if head.argument == _cbor.INDEFINITE:
            yield self._field(root.content, root.end, "CID in pieces", depth=depth)
            return
        prefix = "identity" if root.raw[:1] == b"\x00" else "not identity"
        yield self._field(root.content, min(root.content + 1, root.end), "multibase", prefix, depth)
        if prefix == "identity":
            yield from cid_part_fields(self._body, root.content + 1, root.end, depth)

    # -- one item ------------------------------------------------------------------------------------------

    def _head(self, meaning: str) -> Generator[Field, None, Head]:
        """The head of any item but a root, with the tag that may stand in front of it."""
        start = self._cbor.at
        head = self._cbor.head()
        if head.at > start:
            yield self._tag(start, head.at, self._depth, "ignored")
        yield self._field(head.at, self._cbor.at, meaning, self._head_text(head, meaning))
        return head

    def _head_text(self, head: Head, meaning: str) -> str:
        stop = self._cbor.at
        if head.major == _cbor.MAP:
            return self._count_text(head, stop, "key")
        if head.major == _cbor.ARRAY:
            return self._count_text(head, stop, "root")
        if head.major == _cbor.TEXT:
            return self._count_text(head, stop, "byte")
        if head.major == _cbor.UINT:
            return _with_shape(str(head.argument), head.argument, stop - head.at)
        if head.is_null:
            word = "null" if head.argument == _cbor.NULL else "undefined"
            return f"{word}; not canonical: no roots are an empty list, 80" if meaning == "roots" else word
        return _KINDS[head.major]

    def _count_text(self, head: Head, stop: int, noun: str) -> str:
        if head.argument == _cbor.INDEFINITE:
            return "up to the break; not canonical: the size is indefinite"
        if head.major in {_cbor.SIMPLE, _cbor.UINT, _cbor.NEGATIVE}:
            return str(head.argument)
        return _with_shape(count_of(head.argument, noun), head.argument, stop - head.at)

    def _tag(self, start: int, stop: int, depth: int, role: str) -> Field:
        raw = self._body.buffer[start:stop]
        number = raw[0] & 31 if len(raw) == 1 else int.from_bytes(raw[1:], "big")
        text = _with_shape(f"{number}, {role}", number, len(raw))
        if role == "ignored":
            text += "; not canonical: only a root has a tag"
        elif number != _cbor.LINK_TAG:
            text = f"{number}, ignored; not canonical: a link has tag 42"
        return self._field(start, stop, "tag", text, depth)

    def _field(self, start: int, stop: int, meaning: str, value: str = "", depth: int | None = None) -> Field:
        return self._body.field(start, stop, self._depth if depth is None else depth, meaning, value)


class _Root(NamedTuple):
    """Where a root lies in the header, tag and all, and what is in it."""

    start: int
    head: Head
    content: int
    end: int
    raw: bytes
    good: bool


def _with_shape(text: str, number: int, size: int) -> str:
    """``text``, and a note if ``size`` bytes of item head are more than ``number`` needs."""
    shortest = 1 if number < 24 else 1 + next(width for width in (1, 2, 4, 8) if number < 1 << (8 * width))
    return text if size == shortest else f"{text}; not canonical: not in the shortest form"

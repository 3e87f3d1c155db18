"""What an explanation is made of: fields, and those of a CID, which stands in headers and sections alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from carv2 import _varint
from carv2.cid import CID, parse_parts
from carv2.errors import FormatError
from carv2.multicodec import name_of

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT = 32
"""Bytes of a long field that are kept in it."""

_LONG_CID = 128
_LONG_DIGEST = 64


@dataclass(frozen=True, slots=True)
class Field:
    """A stretch of a file and what it means. Sizes are in bytes."""

    position: int
    """Of the first byte, from the start of the file."""
    raw: bytes
    """The first bytes, up to 32; none where the fields after this one, at a greater depth, make it up."""
    size: int
    """Of the whole stretch."""
    depth: int
    """0 for a part of the file, 1 for a part of that, and so on."""
    meaning: str
    value: str = ""
    error: str | None = None
    """The rule that the bytes here break, as carv2's readers put it. Such a field is the last one."""


class Window(NamedTuple):
    """Bytes in memory and the file position of the first one."""

    buffer: bytes
    position: int

    def field(self, start: int, stop: int, depth: int, meaning: str, value: str = "") -> Field:
        """The field between two places in the buffer."""
        raw = self.buffer[start : min(stop, start + KEPT)]
        return Field(self.position + start, raw, stop - start, depth, meaning, value)


def heading(position: int, size: int, depth: int, meaning: str, value: str = "") -> Field:
    """A field that is made up of deeper ones."""
    return Field(position, b"", size, depth, meaning, value)


def count_of(count: int, noun: str) -> str:
    """``count`` and its noun.

    >>> count_of(1, "section"), count_of(1018, "section")
    ('1 section', '1,018 sections')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def code_text(code: int) -> str:
    """A multicodec number and its name.

    >>> code_text(0x12)
    '0x12 sha2-256'
    """
    return f"{code:#x} {name_of(code)}"


def digest_text(digest: bytes, size: int) -> str:
    """A digest of ``size`` bytes in hex, cut where it is a very long one."""
    shown = digest[: min(size, _LONG_DIGEST)].hex()
    return shown if size <= _LONG_DIGEST else f"{shown}.. ({size:,} bytes)"


def cid_text(raw: bytes) -> str:
    """A CID as text, cut where it is a very long one: an identity CID can be as large as a section."""
    if len(raw) <= _LONG_CID:
        return str(CID.trusted(raw))
    return f"{CID.trusted(raw[:80]).encode('base32')}.. ({len(raw):,} bytes)"


def cid_fields(window: Window, start: int, stop: int, depth: int) -> Iterator[Field]:
    """The CID at ``start`` of what may reach up to ``stop``; of one that is wrong or cut, what makes sense."""
    buffer = window.buffer
    try:
        size = parse_parts(buffer, start, stop, position=window.position).size
    except FormatError:
        size = None
    if size is None or start + size > len(buffer):
        yield from cid_part_fields(window, start, stop, depth)
        return
    text = cid_text(buffer[start : start + size])
    yield heading(window.position + start, size, depth, "CID", text)
    yield from cid_part_fields(window, start, start + size, depth + 1)


def cid_part_fields(window: Window, start: int, stop: int, depth: int) -> Iterator[Field]:
    """The numbers of a CID and its digest, up to where they stop making sense."""
    buffer, at, digest_size = window.buffer, start, 32
    end = min(stop, len(buffer))
    if buffer[start : start + 2] == b"\x12\x20":
        yield window.field(at, at + 1, depth, "hash function", "0x12 sha2-256 (a CIDv0; its codec is dag-pb)")
        yield window.field(at + 1, at + 2, depth, "digest size", "32 bytes")
        at += 2
    else:
        for meaning in ("CID version", "CID codec", "hash function", "digest size"):
            try:
                number, after = _varint.decode(buffer, at, end, position=window.position)
            except FormatError:
                return
            yield window.field(at, after, depth, meaning, _number_text(meaning, number))
            if meaning == "CID version" and number != 1:
                return
            at, digest_size = after, number
    there = min(digest_size, end - at)
    whole = there == digest_size
    value = digest_text(buffer[at : at + there], there) if whole else f"{there:,} of {digest_size:,} bytes"
    yield window.field(at, at + there, depth, "digest", value)


def _number_text(meaning: str, number: int) -> str:
    if meaning == "digest size":
        return count_of(number, "byte")
    return str(number) if meaning == "CID version" else code_text(number)

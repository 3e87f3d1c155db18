"""The two headers: a CARv1's (roots) and a CARv2's (where the parts of the file lie).

Rules: the CARv1 and CARv2 specifications; where they leave a choice, go-car's.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from carv2 import _cbor, _varint
from carv2.cid import CID
from carv2.errors import FormatError, LimitError, TruncatedError, UnfinalizedError, VersionError
from carv2.units import DEFAULT_LIMITS, FilePosition, Limits

__all__ = ["FULLY_INDEXED", "PRAGMA", "CarV1Header", "CarV2Header"]

PRAGMA = bytes.fromhex("0aa16776657273696f6e02")
"""``0a`` ten bytes follow; ``a1`` a map of one; ``67`` text of seven, "version"; ``02`` the number 2."""

FULLY_INDEXED = 1 << 127
"""Characteristics bit: identity CIDs are in the index. The leftmost bit of the field, so byte 0 is 0x80."""

_ROOTS_KEY = b"\x65roots"
_VERSION_ONE = b"\x67version\x01"
_LINK_HEAD = b"\xd8\x2a"  # tag 42


class CarV1Header(NamedTuple):
    """The header of a CARv1: its roots, in the order that the file gives.

    >>> CarV1Header().to_bytes().hex()
    '11a265726f6f7473806776657273696f6e01'
    """

    roots: tuple[CID, ...] = ()

    @classmethod
    def parse(
        cls, buffer: bytes, *, position: int = 0, limits: Limits = DEFAULT_LIMITS
    ) -> tuple[CarV1Header, int]:
        """Decode the header at the front of ``buffer``; return it and its size in bytes, varint included.

        What counts is the size in the file, never the size of a header encoded anew: go-car loses its place
        on headers that are valid but not canonical.

        Raises:
            TruncatedError: ``buffer`` ends inside the header.
            LimitError: the CBOR is larger than ``limits.header``.
            VersionError: the version is not 1.
            FormatError: not a CARv1 header.
        """
        size, start = _length_of(buffer, position, limits)
        if len(buffer) - start < size:
            got = len(buffer) - start
            raise TruncatedError("CARv1 header", wanted=size, got=got, position=position + len(buffer))
        reader = _cbor.Reader(bytes(buffer[start : start + size]), position=position + start)
        version, roots = _read_map(reader)
        if version != 1:
            raise VersionError(version, position=position, supported=(1,))
        return cls(tuple(roots)), start + size

    def to_bytes(self) -> bytes:
        """Encode as go-car does: canonical DAG-CBOR behind its length; no roots are an empty list."""
        links = [
            _LINK_HEAD + _cbor_head(_cbor.BYTES, len(raw) + 1) + b"\x00" + raw for raw in map(bytes, self.roots)
        ]
        roots = _ROOTS_KEY + _cbor_head(_cbor.ARRAY, len(links)) + b"".join(links)
        body = b"\xa2" + roots + _VERSION_ONE
        return _varint.encode(len(body)) + body


def header_size(buffer: bytes, *, position: int = 0, limits: Limits = DEFAULT_LIMITS) -> int:
    """Bytes that the CARv1 header at the front of ``buffer`` takes, varint included."""
    size, start = _length_of(buffer, position, limits)
    return start + size


def version_of(buffer: bytes, *, position: int = 0, limits: Limits = DEFAULT_LIMITS) -> int:
    """The version number in the header at the front of ``buffer``, whatever number it is.

    >>> version_of(PRAGMA), version_of(bytes.fromhex("0ba16776657273696f6e182a"))
    (2, 42)
    """
    size, start = _length_of(buffer, position, limits)
    if len(buffer) - start < size:
        got = len(buffer) - start
        raise TruncatedError("CAR header", wanted=size, got=got, position=position + len(buffer))
    return _read_map(_cbor.Reader(bytes(buffer[start : start + size]), position=position + start))[0]


def _length_of(buffer: bytes, position: int, limits: Limits) -> tuple[int, int]:
    """Size of the CBOR and where it starts."""
    if not buffer:
        raise TruncatedError("CAR header", wanted=1, got=0, position=position)
    size, start = _varint.decode(buffer, 0, len(buffer), position=position)
    if size == 0:
        raise FormatError("CARv1 header of 0 bytes", position=position)
    if size > limits.header:
        raise LimitError("header", found=size, allowed=limits.header, position=position)
    return size, start


def _read_map(reader: _cbor.Reader) -> tuple[int, list[CID]]:
    """Version (0 if absent) and roots. Of a key that comes twice the last one counts, as in go-car."""
    version, roots = 0, list[CID]()
    head = reader.head()
    if head.is_null:
        return version, roots
    if head.major != _cbor.MAP:
        raise reader.fail("not a map", head.at)
    count = 0
    while reader.more(head, count):
        key_head = reader.head()
        if key_head.major != _cbor.TEXT:
            raise reader.fail("a key is not text", key_head.at)
        key = reader.string(key_head)
        if key == b"version":
            version = _read_version(reader)
        elif key == b"roots":
            roots = _read_roots(reader)
        else:
            shown = key[:40].decode("utf-8", "backslashreplace")
            raise reader.fail(f"key {shown!r}, allowed: 'roots' and 'version'", key_head.at)
        count += 1
    return version, roots


def _read_version(reader: _cbor.Reader) -> int:
    head = reader.head()
    if head.major != _cbor.UINT:
        raise reader.fail("the version is not an unsigned integer", head.at)
    return head.argument


def _read_roots(reader: _cbor.Reader) -> list[CID]:
    roots: list[CID] = []
    head = reader.head()
    if head.is_null:
        return roots
    if head.major != _cbor.ARRAY:
        raise reader.fail("the roots are not a list", head.at)
    while reader.more(head, len(roots)):
        roots.append(_read_root(reader))
    return roots


def _read_root(reader: _cbor.Reader) -> CID:
    head = reader.head()
    if head.major != _cbor.BYTES:
        raise reader.fail("a root is not a CID", head.at)
    raw = reader.string(head)
    if raw[:1] != b"\x00":
        raise reader.fail("a root's bytes do not start with 00, the identity multibase", head.at)
    try:
        return CID.trusted(CID(raw[1:]).raw)  # without its parts: a header may have millions of roots
    except FormatError as error:
        raise reader.fail(f"a root is no CID: {error.args[0]}", head.at) from error


def _cbor_head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes([major << 5 | argument])
    width = next(width for width in range(4) if argument < 1 << (8 << width))
    return bytes([major << 5 | 24 + width]) + argument.to_bytes(1 << width, "big")


class CarV2Header(NamedTuple):
    """Where the parts of a CARv2 file lie; the 40 bytes behind the pragma.

    ``data_offset`` and ``index_offset`` are file positions (the specification's names), ``data_size`` is in
    bytes, ``index_offset`` 0 means that there is no index. Characteristics bits that mean nothing yet are
    kept, so that encoding anew gives the same bytes.

    >>> CarV2Header(FilePosition(51), 100, FilePosition(151)).to_bytes().hex()[32:48]
    '3300000000000000'
    """

    data_offset: FilePosition
    data_size: int
    index_offset: FilePosition = FilePosition(0)
    characteristics: int = 0

    @classmethod
    def from_bytes(cls, raw: bytes, *, position: int = len(PRAGMA)) -> CarV2Header:
        """Decode the first 40 bytes of ``raw``, which start at file position ``position``.

        Raises:
            TruncatedError: fewer than 40 bytes.
            UnfinalizedError: all of them are zero, as in a file that its writer did not finish.
            FormatError: a field that go-car refuses: data offset below 51, data size 0, anything above 2**63 - 1.
        """
        if len(raw) < SIZE:
            got = len(raw)
            raise TruncatedError("CARv2 header", wanted=SIZE, got=got, position=position + got)
        bits, data_offset, data_size, index_offset = _LAYOUT.unpack_from(raw)
        if not any(raw[:SIZE]):
            raise UnfinalizedError("CARv2 header is all zeros: its writer did not finish", position=position)
        if not len(PRAGMA) + SIZE <= data_offset < 1 << 63:
            raise FormatError(f"data offset {data_offset}, allowed 51 to 2**63 - 1", position=position + 16)
        if not 0 < data_size < 1 << 63:
            raise FormatError(f"data size {data_size}, allowed 1 to 2**63 - 1", position=position + 24)
        if index_offset >= 1 << 63:
            raise FormatError(f"index offset {index_offset}, allowed 0 to 2**63 - 1", position=position + 32)
        characteristics = int.from_bytes(bits, "big")
        return cls(FilePosition(data_offset), data_size, FilePosition(index_offset), characteristics)

    def to_bytes(self) -> bytes:
        """Encode; the exact inverse of :meth:`from_bytes`."""
        bits = self.characteristics.to_bytes(16, "big")
        return _LAYOUT.pack(bits, self.data_offset, self.data_size, self.index_offset)

    @property
    def data_end(self) -> FilePosition:
        """Where the payload ends."""
        return FilePosition(self.data_offset + self.data_size)

    @property
    def has_index(self) -> bool:
        """Whether the header names an index."""
        return self.index_offset != 0

    @property
    def is_fully_indexed(self) -> bool:
        """Whether the index claims to list identity CIDs too."""
        return bool(self.characteristics & FULLY_INDEXED)


SIZE = 40
"""Bytes of a CARv2 header."""

_LAYOUT = struct.Struct("<16sQQQ")

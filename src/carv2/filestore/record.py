"""The record of a positional reference: which bytes of which file a block is.

It is the protobuf message ``DataObj`` of go-ipfs-filestore (boxo's ``filestore/pb/dataobj.proto``): 1 FilePath,
2 Offset, 3 Size. Records are written as Lotus' are, all three fields in this order, zero included; they are read
in any order, with unknown fields between them, and what is missing is empty or zero.

Source of what a reference says: go-ipfs-filestore's ``DataObj``.
"""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carv2.codec._protobuf import LARGEST_FIELD, read_varint, varint
from carv2.errors import CodecError, LimitError

if TYPE_CHECKING:
    from typing import TypeAlias

    PathLike: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"
    """A path of this system; one of bytes is what is on the disk."""

__all__ = ["FileReference", "decode", "encode"]

LARGEST_RECORD = 8 << 10
"""Bytes of a record, which is also what bounds a URL in it."""

LONGEST_PATH = 4096
"""Bytes of a path in a record: those of systems end there."""

_SHOWN = 160  # characters of a path in messages

_PATH, _OFFSET, _SIZE = 1, 2, 3
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_WIRE_TYPES = {_PATH: _BYTES, _OFFSET: _VARINT, _SIZE: _VARINT}


@dataclass(frozen=True, slots=True)
class FileReference:
    """``size`` bytes at ``offset`` of the file at ``path``.

    >>> reference = FileReference("data/input.bin", 0, 10)
    >>> reference.full_path(), reference.is_url
    ('/data/input.bin', False)
    >>> FileReference.of_path("/data/input.bin", 0, 10) == reference
    True
    """

    path: str
    """Relative to the reference's root, ``/`` in archives of Lotus; or a whole URL.

    Bytes that are no text are kept as :func:`os.fsdecode` does.
    """
    offset: int
    size: int

    @classmethod
    def of_path(cls, path: PathLike, offset: int, size: int, root: PathLike = "/") -> FileReference:
        """The reference for a file of this system; the path is made absolute, symlinks stay in it.

        Raises:
            ValueError: ``path`` is not below ``root``.

        >>> FileReference.of_path("/data/in/../input.bin", 0, 10, root="/data").path
        'input.bin'
        """
        whole, base = os.path.abspath(os.fsdecode(path)), os.path.abspath(os.fsdecode(root))
        base = base.rstrip(os.sep) + os.sep
        if not whole.startswith(base) or whole == base:
            raise ValueError(f"{whole} is not below {base}, the root of the references")
        return cls(whole[len(base) :].replace(os.sep, "/"), offset, size)

    @property
    def is_url(self) -> bool:
        """Whether ``path`` is a URL; go-ipfs-filestore's rule."""
        return self.path.startswith(("http://", "https://")) and not self.path.endswith("://")

    def full_path(self, root: PathLike = "/") -> str:
        """Where the file should be; ``..`` never leads out of ``root``. Of a URL, the URL.

        >>> FileReference("a/../../../etc/passwd", 0, 1).full_path("/data")
        '/data/etc/passwd'
        """
        if self.is_url:
            return self.path
        inside = posixpath.normpath("/" + self.path.lstrip("/")).lstrip("/")
        return os.path.join(os.fsdecode(root), *filter(None, inside.split("/")))

    def __str__(self) -> str:
        return f"{shortened(self.path)!r}, {self.size} bytes at {self.offset}"


def shortened(path: str) -> str:
    """A path for a message: of a long one the beginning and the end."""
    return path if len(path) <= _SHOWN else f"{path[: _SHOWN // 2]}...{path[-_SHOWN // 2 :]}"


def encode(reference: FileReference) -> bytes:
    """The record, as Lotus writes it.

    Raises:
        ValueError: offset or size is negative or above 2**64 - 1, or the path cannot be encoded.
        LimitError: the path is longer than :func:`decode` takes.

    >>> encode(FileReference("data/input.bin", 0, 10)).hex()
    '0a0e646174612f696e7075742e62696e1000180a'
    """
    path = os.fsencode(reference.path)
    if not _fits(path):
        raise LimitError("path in a record", found=len(path), allowed=LONGEST_PATH, position=0)
    return b"".join(
        (b"\x0a", varint(len(path)), path, b"\x10", varint(reference.offset), b"\x18", varint(reference.size))
    )


def decode(data: bytes, *, position: int = 0) -> FileReference:
    r"""The reference that a record holds.

    ``position`` is added to that of errors: where ``data`` begin in what the caller reads.

    Raises:
        CodecError: it is no such record, or larger than 8 KiB, or its path is longer than 4096 bytes.

    >>> decode(b"\x18\x0a\x0a\x01x")
    FileReference(path='x', offset=0, size=10)
    """
    try:
        return _decode(data)
    except CodecError as error:
        error.position += position
        raise


def _decode(data: bytes) -> FileReference:
    path, numbers, at, end = b"", [0, 0], 0, len(data)
    if end > LARGEST_RECORD:
        raise CodecError(f"record: {end} bytes, limit {LARGEST_RECORD}", position=0)
    while at < end:
        tag, value_at = read_varint(data, at, end, CodecError)
        field, wire = tag >> 3, tag & 7
        if not 0 < field <= LARGEST_FIELD or _WIRE_TYPES.get(field, wire) != wire:
            raise CodecError(f"record: field {field} with the wire type {wire}", position=at)
        value, at = _value(data, value_at, wire)
        if field == _PATH:
            path = data[at - value : at]
            if not _fits(path):
                raise CodecError(f"record: a path of {value} bytes, limit {LONGEST_PATH}", position=value_at)
        elif field in {_OFFSET, _SIZE}:
            numbers[field - _OFFSET] = value
    return FileReference(os.fsdecode(path), *numbers)


def _fits(path: bytes) -> bool:
    """Whether the path is no longer than any that leads somewhere; a URL may be."""
    if path.startswith((b"http://", b"https://")):
        return len(path) <= LARGEST_RECORD - 32  # with room for the numbers
    return len(path) <= LONGEST_PATH


def _value(data: bytes, at: int, wire: int) -> tuple[int, int]:
    """The number at ``at``, of bytes how many they are, and the offset behind the field."""
    start, end = at, len(data)
    if wire in {_FIXED_32, _FIXED_64}:
        value, at = 0, at + (4 if wire == _FIXED_32 else 8)
    elif wire in {_VARINT, _BYTES}:
        value, at = read_varint(data, at, end, CodecError)
        at += value if wire == _BYTES else 0
    else:
        raise CodecError(f"record: a field with the wire type {wire}", position=start)
    if at > end:
        raise CodecError(f"record: a field ends {at - end} bytes behind the record", position=start)
    return value, at

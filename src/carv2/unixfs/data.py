"""The small protobuf message in the Data field of a dag-pb node that says what the node is to a file system.

Sources: the UnixFS specification (https://specs.ipfs.tech/unixfs/), the protobuf encoding; what is written is what
Kubo writes: fields in the order of their numbers, repeated block sizes one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from carv2.codec._protobuf import LARGEST_FIELD, read_varint, varint
from carv2.errors import UnixFSError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DIRECTORY", "FILE", "HAMT", "METADATA", "RAW", "SYMLINK", "UnixFSData", "decode", "encode"]

RAW, DIRECTORY, FILE, METADATA, SYMLINK, HAMT = range(6)

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_TYPE, _DATA, _FILESIZE, _BLOCKSIZES, _HASH_TYPE, _FANOUT, _MODE, _MTIME = range(1, 9)  # field numbers
_SECONDS, _NANOSECONDS = 1, 2
_MAX_NANOSECONDS = 999_999_999


class UnixFSData(NamedTuple):
    """What a node is. Sizes are bytes of payload; None is a field that is not there."""

    type: int
    """``RAW``, ``DIRECTORY``, ``FILE``, ``METADATA``, ``SYMLINK`` or ``HAMT``."""
    data: bytes | None = None
    """Payload of a file, target of a symlink, bit field of a HAMT shard."""
    filesize: int | None = None
    blocksizes: tuple[int, ...] = ()
    """Of a file, one for each link."""
    hash_type: int | None = None
    """Multicodec number of a HAMT's hash function."""
    fanout: int | None = None
    mode: int | None = None
    """Permission bits, and whatever else is in the 32 bits of the field."""
    mtime: tuple[int, int] | None = None
    """Seconds since 1970, maybe negative, and nanoseconds on top."""


def decode(raw: bytes) -> UnixFSData:
    """Decode the Data field of a dag-pb node.

    Fields may stand in any order, of one that comes twice the last counts, block sizes may be packed, and unknown
    fields are passed over, as in every protobuf decoder.

    Raises:
        UnixFSError: no protobuf, a field of the wrong wire type, a type that is not there or unknown, nanoseconds
            of more than a second. ``position`` counts from ``raw``'s first byte.

    >>> decode(bytes.fromhex("0802120466697368" "1804"))
    UnixFSData(type=2, data=b'fish', filesize=4, blocksizes=(), hash_type=None, fanout=None, mode=None, mtime=None)
    """
    numbers: dict[int, int] = {}
    blocksizes: list[int] = []
    data = mtime = None
    for number, wire, value, start, end in _fields(raw, 0, len(raw)):
        if not _TYPE <= number <= _MTIME:
            continue
        if wire == _BYTES and number == _BLOCKSIZES:
            blocksizes += _packed(raw, start, end)
        elif wire != (_BYTES if number in {_DATA, _MTIME} else _VARINT):
            raise UnixFSError(f"UnixFS field {number} has wire type {wire}", position=start)
        elif number == _DATA:
            data = raw[start:end]
        elif number == _MTIME:
            mtime = _decode_mtime(raw, start, end)
        elif number == _BLOCKSIZES:
            blocksizes.append(value)
        else:
            numbers[number] = value
    return UnixFSData(
        _checked_type(numbers.get(_TYPE)),
        data,
        numbers.get(_FILESIZE),
        tuple(blocksizes),
        numbers.get(_HASH_TYPE),
        numbers.get(_FANOUT),
        _low_32_bits(numbers.get(_MODE)),
        mtime,
    )


def encode(value: UnixFSData) -> bytes:
    """Encode, as Kubo does.

    Raises:
        ValueError: a number that the field cannot hold.

    >>> encode(UnixFSData(DIRECTORY)).hex()
    '0801'
    """
    out = bytearray((_TYPE << 3, _checked_type(value.type)))
    if value.data is not None:
        out += b"\x12" + varint(len(value.data)) + value.data
    if value.filesize is not None:
        out += b"\x18" + varint(value.filesize)
    for size in value.blocksizes:
        out += b"\x20" + varint(size)
    for number, field in ((_HASH_TYPE, value.hash_type), (_FANOUT, value.fanout), (_MODE, value.mode)):
        if field is not None:
            out += bytes((number << 3,)) + varint(field)
    if value.mtime is not None:
        message = _encode_mtime(*value.mtime)
        out += b"\x42" + varint(len(message)) + message
    return bytes(out)


def _checked_type(value: int | None) -> int:
    if value is None:
        raise UnixFSError("no UnixFS type", position=0)
    if value > HAMT:
        raise UnixFSError(f"UnixFS type {value}, known: 0 to {HAMT}", position=0)
    return value


def _low_32_bits(value: int | None) -> int | None:
    return None if value is None else value & 0xFFFFFFFF


def _fields(raw: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Field number, wire type, value (of a varint), start and end of the value; in the order of the bytes."""
    while at < end:
        key, start = read_varint(raw, at, end, UnixFSError)
        number, wire = key >> 3, key & 7
        value = 0
        if wire == _VARINT:
            value, at = read_varint(raw, start, end, UnixFSError)
        elif wire == _BYTES:
            size, start = read_varint(raw, start, end, UnixFSError)
            at = start + size
        elif wire in {_FIXED64, _FIXED32}:
            at = start + (8 if wire == _FIXED64 else 4)
        else:
            raise UnixFSError(f"UnixFS field {number} has wire type {wire}", position=at)
        if not 0 < number <= LARGEST_FIELD:
            raise UnixFSError(f"protobuf field {number}", position=start)
        if at > end:
            raise UnixFSError(
                f"UnixFS field {number}: wanted {at - start} bytes, got {end - start}", position=start
            )
        yield number, wire, value, start, at


def _packed(raw: bytes, at: int, end: int) -> Iterator[int]:
    while at < end:
        value, at = read_varint(raw, at, end, UnixFSError)
        yield value


def _decode_mtime(raw: bytes, at: int, end: int) -> tuple[int, int]:
    seconds, nanoseconds = None, 0
    for number, wire, value, start, stop in _fields(raw, at, end):
        if number == _SECONDS and wire == _VARINT:
            seconds = value - (value >> 63 << 64)  # an int64, in two's complement
        elif number == _NANOSECONDS and wire == _FIXED32:
            nanoseconds = int.from_bytes(raw[start:stop], "little")
        elif number in {_SECONDS, _NANOSECONDS}:
            raise UnixFSError(f"field {number} of an mtime has wire type {wire}", position=start)
    if seconds is None:
        raise UnixFSError("an mtime without seconds", position=at)
    if nanoseconds > _MAX_NANOSECONDS:
        raise UnixFSError(f"an mtime with {nanoseconds} nanoseconds, allowed: {_MAX_NANOSECONDS}", position=at)
    return seconds, nanoseconds


def _encode_mtime(seconds: int, nanoseconds: int) -> bytes:
    if not -1 << 63 <= seconds < 1 << 63 or not 0 <= nanoseconds <= _MAX_NANOSECONDS:
        raise ValueError(f"mtime of {seconds} s and {nanoseconds} ns")
    message = b"\x08" + varint(seconds & (1 << 64) - 1)
    return message + b"\x15" + nanoseconds.to_bytes(4, "little") if nanoseconds else message

"""DASL: what of CIDs and of dag-cbor is allowed where everything has one form only, as on Bluesky's network.

Source: the DASL specifications of CIDs (https://dasl.ing/cid.html) and DRISL (https://dasl.ing/drisl.html). NaN
and the infinities are refused as dag-cbor refuses them; DRISL's own text leaves them open. Whole archives are
checked by ``carv2.verify(source, profile="dasl")``.

>>> check(bytes.fromhex("a1616101"))
>>> check(bytes.fromhex("a161611801"))
Traceback (most recent call last):
    ...
carv2.errors.CodecError: DRISL: the number 1 in 2 bytes, allowed: the shortest form (at byte 3 of the block)
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from carv2.cid import CID, RAW
from carv2.codec._values import MAX_DEPTH
from carv2.errors import CodecError, FormatError
from carv2.multicodec import name_of
from carv2.multihash import SHA2_256

__all__ = ["check", "fault_of_cid"]

DAG_CBOR = 0x71
DIGEST_SIZE = 32
CID_HEADS = {b"\x01\x55\x12\x20": RAW, b"\x01\x71\x12\x20": DAG_CBOR}
"""How the two kinds of DASL CIDs begin, by the codec; the rest is the digest."""

_BYTES, _TEXT, _LIST, _MAP, _TAG, _SIMPLE = 2, 3, 4, 5, 6, 7  # major types
_INDEFINITE = 31
_SHOWN = 80  # characters of a key in a message
_LINK_TAG = 42
_CONSTANTS = frozenset({0xF4, 0xF5, 0xF6})  # false, true, null
_DOUBLE = 0xFB
_SHORT_FLOATS = {0xF9: 16, 0xFA: 32}


def fault_of_cid(cid: CID | bytes) -> str | None:
    """Why ``cid`` is no DASL CID: those are version 1, raw or dag-cbor, by a whole SHA-256; None if it is one.

    Args:
        cid: a CID, or its binary form.

    Raises:
        FormatError: the bytes are no CID at all.

    >>> fault_of_cid(CID.of_data(b"fish"))
    >>> fault_of_cid(CID.of_data(b"fish", codec="dag-pb", version=0))
    'CIDv0, allowed: CIDv1'
    """
    raw = bytes(cid)
    if raw[:-DIGEST_SIZE] in CID_HEADS:
        return None
    parts = CID(raw).parts
    if parts.version != 1:
        return f"CIDv{parts.version}, allowed: CIDv1"
    if parts.codec not in {RAW, DAG_CBOR}:
        return f"the codec {name_of(parts.codec)} ({parts.codec:#x}), allowed: raw and dag-cbor"
    if parts.hash_code != SHA2_256:
        return f"the hash {name_of(parts.hash_code)} ({parts.hash_code:#x}), allowed: sha2-256"
    return f"a digest of {parts.digest_size} bytes, allowed: 32"


def check(data: bytes) -> None:
    """Check that a block is DRISL: dag-cbor in its one form, with DASL CIDs for links.

    Numbers and lengths are the shortest, lengths definite, floats 64 bits and finite; keys are text, the shorter
    first, no key twice; texts are UTF-8; of tags there is 42 and of simple values false, true and null. What is
    nested deeper than 128 is refused. Only what is checked is looked at: no values are made.

    Raises:
        CodecError: the first thing that is not so; ``position`` counts from the start of the block.

    >>> check(bytes.fromhex("a2 6162 01 6161 02"))
    Traceback (most recent call last):
        ...
    carv2.errors.CodecError: DRISL: the key 'a' behind 'b', allowed: in order, each once (at byte 4 of the block)
    """
    try:
        end = _walk(data)
    except IndexError:
        raise CodecError("DRISL: cut off", position=len(data)) from None
    if end < len(data):
        raise CodecError(f"DRISL: {len(data) - end} bytes behind the item", position=end)


@dataclass(slots=True)
class _Holder:
    """A list or a map that is gone through."""

    left: int
    """Items or entries still to come."""
    is_map: bool
    key: bytes | None = None
    """The last one."""


def _walk(data: bytes) -> int:
    """Check an item and all in it; return the offset behind it."""
    stack: list[_Holder] = []
    holder, at = _Holder(1, is_map=False), 0
    while True:
        while holder.left:
            holder.left -= 1
            if holder.is_map:
                at = _check_key(data, at, holder)
            if data[at] >> 5 in {_LIST, _MAP}:
                if len(stack) >= MAX_DEPTH:
                    raise CodecError(f"DRISL: nested deeper than {MAX_DEPTH}", position=at)
                stack.append(holder)
                holder, at = _open(data, at)
            else:
                at = _check_scalar(data, at)
        if not stack:
            return at
        holder = stack.pop()


def _open(data: bytes, at: int) -> tuple[_Holder, int]:
    major, count, start = _head(data, at)
    least = 2 * count if major == _MAP else count  # bytes
    if least > len(data) - start:
        raise CodecError(f"DRISL: {count} items announced, {len(data) - start} bytes are left", position=at)
    return _Holder(count, major == _MAP), start


def _check_key(data: bytes, at: int, holder: _Holder) -> int:
    major, size, start = _head(data, at)
    if major != _TEXT:
        raise CodecError("DRISL: a key that is no text", position=at)
    key = _string(data, start, size)
    shown = _checked_text(key, start)[:_SHOWN]
    before, holder.key = holder.key, key
    if before is not None and (len(before), before) >= (len(key), key):
        why = f"DRISL: the key {shown!r} behind {before.decode()[:_SHOWN]!r}, allowed: in order, each once"
        raise CodecError(why, position=at)
    return start + size


def _check_scalar(data: bytes, at: int) -> int:
    """Check what holds nothing else; return the offset behind it."""
    if data[at] >> 5 == _SIMPLE:
        return _check_simple(data, at)
    major, argument, start = _head(data, at)
    if major == _TAG:
        return _check_link(data, at, argument, start)
    if major == _TEXT:
        _checked_text(_string(data, start, argument), start)
    elif major != _BYTES:
        return start
    return _end(data, start, argument)


def _check_simple(data: bytes, at: int) -> int:
    first = data[at]
    if first in _CONSTANTS:
        return at + 1
    if first in _SHORT_FLOATS:
        raise CodecError(f"DRISL: a float of {_SHORT_FLOATS[first]} bits, allowed: 64", position=at)
    if first != _DOUBLE:
        what = "undefined" if first == 0xF7 else f"byte {first:#04x}"
        raise CodecError(f"DRISL: {what}, allowed: false, true, null and floats", position=at)
    number: float = struct.unpack(">d", _string(data, at + 1, 8))[0]
    if not math.isfinite(number):
        raise CodecError(f"DRISL: the float {number}, allowed: finite ones", position=at)
    return at + 9


def _check_link(data: bytes, at: int, tag: int, start: int) -> int:
    if tag != _LINK_TAG:
        raise CodecError(f"DRISL: tag {tag}, allowed: {_LINK_TAG}", position=at)
    major, size, start = _head(data, start)
    content = _string(data, start, size) if major == _BYTES else b""
    if content[:1] != b"\x00":
        raise CodecError("DRISL: a link that is no byte string of 00 and a CID", position=at)
    try:
        fault = fault_of_cid(content[1:])
    except FormatError as error:
        raise CodecError(f"DRISL: a link that is no CID: {error.args[0]}", position=at) from error
    if fault is not None:
        raise CodecError(f"DRISL: a link with {fault}", position=at)
    return start + size


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """Major type, argument, and the offset behind the head of an item."""
    major, info = data[at] >> 5, data[at] & 31
    if info < 24:
        return major, info, at + 1
    if info == _INDEFINITE and _BYTES <= major <= _MAP:
        raise CodecError("DRISL: an indefinite length", position=at)
    if info > 27:
        raise CodecError(f"DRISL: byte {data[at]:#04x} begins no item", position=at)
    size = 1 << (info - 24)
    argument = int.from_bytes(_string(data, at + 1, size), "big")
    if argument < (24 if size == 1 else 1 << (4 * size)):
        why = f"DRISL: the number {argument} in {1 + size} bytes, allowed: the shortest form"
        raise CodecError(why, position=at)
    return major, argument, at + 1 + size


def _string(data: bytes, start: int, size: int) -> bytes:
    return data[start : _end(data, start, size)]


def _end(data: bytes, start: int, size: int) -> int:
    if size > len(data) - start:
        raise IndexError
    return start + size


def _checked_text(text: bytes, at: int) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise CodecError("DRISL: text that is not UTF-8", position=at + error.start) from error

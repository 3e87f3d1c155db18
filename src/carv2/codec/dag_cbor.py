"""dag-cbor: links, values, and back. The ``dag_cbor`` package decodes and encodes; finding links needs nothing.

Source: the DAG-CBOR specification (https://ipld.io/specs/codecs/dag-cbor/spec/). :func:`decode` takes its one
strict form only, :func:`links` what go-ipld-prime reads; see there.

>>> from carv2 import CID
>>> block = encode({"friend": CID.of_data(b"fish"), "age": 3})
>>> decode(block)["age"], decode(block)["friend"] == CID(links(block)[0])
(3, True)
"""

from __future__ import annotations

import re
from importlib import import_module
from itertools import zip_longest
from typing import Any

from carv2.codec import _cbor_values
from carv2.codec._cbor_links import links, scan
from carv2.codec._values import Marks, copied, unused_mark
from carv2.errors import CodecError

__all__ = ["decode", "encode", "links"]

_MARK_HEAD = b"\x4c"  # of the byte string of 12 that stands for a link while the library is at work
_MARK_SIZE = 13


def decode(data: bytes, *, strict: bool = True) -> Any:
    """The value, links as :class:`carv2.CID`.

    The ``dag_cbor`` package decodes; links are taken out before and put back afterwards, since it knows only the
    CIDs of the codecs and hash functions in its table, and takes some 0.4 ms for each.

    Without ``strict``, all is read that go-ipld-prime reads: old blocks have unsorted keys, Filecoin's have texts
    that are not UTF-8 (which come out with ``surrogateescape``).

    Raises:
        CodecError: no dag-cbor, or not in its one strict form.

    >>> decode(bytes.fromhex("a2616101616a" "d82a46000155000161"))
    {'a': 1, 'j': CID('bafkqaalb')}
    """
    if not strict:
        return _cbor_values.decode(data)
    library: Any = import_module("dag_cbor")  # 80 ms: only when needed
    ends: list[int] = []
    found = scan(data, ends)
    starts = [_start_of_link(data, cid, end) for cid, end in zip(found, ends, strict=True)]
    marks = Marks(unused_mark(data))
    pieces = [data[end:start] for end, start in zip([0, *ends], [*starts, len(data)], strict=True)]
    fillings = [_MARK_HEAD + marks.of(cid) for cid in found]
    plain = b"".join(b"".join(pair) for pair in zip_longest(pieces, fillings, fillvalue=b""))
    try:
        value: object = library.decode(plain)
    except library.decoding.err.CBORDecodingError as error:
        raise _explained(str(error), starts, ends) from error
    return copied(value, marks.take)


def _start_of_link(data: bytes, cid: bytes, end: int) -> int:
    item = _link(cid)
    if not data.endswith(item, 0, end):
        raise CodecError("dag-cbor: a link that is not in its shortest form", position=end)
    return end - len(item)


def _link(cid: bytes) -> bytes:
    """The item for a link."""
    size = len(cid) + 1
    if size < 24:
        head = bytes((0x40 | size,))
    else:
        width = 1 if size < 1 << 8 else 2 if size < 1 << 16 else 4
        head = bytes((0x58 + width.bit_length() - 1,)) + size.to_bytes(width, "big")
    return b"\xd8\x2a" + head + b"\x00" + cid


_PLACE = re.compile(r"At byte #(\d+)")


def _explained(text: str, starts: list[int], ends: list[int]) -> CodecError:
    """The innermost of the library's errors in one line, with its place in the block as it was."""
    innermost = text.rpartition("\\ ")[2]
    places = _PLACE.findall(text)
    position = int(places[-1]) if places else 0
    for start, end in zip(starts, ends, strict=True):
        if position <= start:
            break
        position += end - start - _MARK_SIZE
    reason = innermost.partition("\n")[0].rstrip(".")
    return CodecError(f"dag-cbor: {reason}", position=position)


def encode(value: object) -> bytes:
    """The one strict form of a value made of None, bool, int, float, str, bytes, list, dict and CIDs.

    Raises:
        ValueError: a number that is out of range or none, a text with lone surrogates, too deep a nesting.
        TypeError: anything else.

    >>> encode({"b": True, "a": None}).hex()
    'a26161f66162f5'
    """
    library: Any = import_module("dag_cbor")  # 80 ms: only when needed
    mark = unused_mark(b"")
    while True:
        marks = Marks(mark)
        try:
            plain: bytes = library.encode(copied(value, marks.put))
        except library.encoding.err.CBOREncodingError as error:
            raise ValueError(str(error)) from error
        pieces = plain.split(_MARK_HEAD + mark)
        if len(pieces) == len(marks.cids) + 1:  # the mark stands for links and nothing else
            break
        mark = unused_mark(plain)
    return pieces[0] + b"".join(
        _link(marks.cids[int.from_bytes(piece[:4], "big")]) + piece[4:] for piece in pieces[1:]
    )

r"""dag-json: JSON in which ``{"/": "bafy..."}`` is a link and ``{"/": {"bytes": "..."}}`` are bytes.

Source: the DAG-JSON specification (https://ipld.io/specs/codecs/dag-json/spec/). :func:`encode` writes what
go-ipld-prime writes (keys sorted by their bytes, no space, unpadded base64), but for whole floats, which keep
their ``.0``. :func:`decode` takes JSON with any spacing and order of keys, padded base64 too, and refuses what
only looks like a link or like bytes; :func:`links` takes such a map for a map, as go-ipld-prime does.

>>> decode(b'{"n": 1, "raw": {"/": {"bytes": "AQI"}}}')
{'n': 1, 'raw': b'\x01\x02'}
>>> encode({"to": decode(b'{"/": "bafkqaalb"}'), "a": 1.0})
b'{"a":1.0,"to":{"/":"bafkqaalb"}}'
"""

from __future__ import annotations

import binascii
import re
from typing import Any, cast

from carv2.cid import CID
from carv2.codec._json import build, dumps, fail, tokens
from carv2.codec._values import copied

__all__ = ["decode", "encode", "links", "text_of"]

_BASE64 = re.compile("[A-Za-z0-9+/]*={0,2}")
_QUICK_BASES = frozenset("bBfFmMuU")  # of the others, reading takes time by the square of the length
_MAX_SLOW_TEXT = 1024
_ELSEWHERE, _OPENED, _SLASH, _TEXT = range(4)  # how much of a link has been seen


def links(data: bytes) -> list[bytes]:
    """Binary CIDs in the order they stand; no values are built.

    Raises:
        CodecError: no JSON, nested deeper than 130 (of the levels of a value 128, and the two maps of bytes), or a
            map that is a link, of something that is no CID.
    """
    found: list[bytes] = []
    text = ""
    state = _ELSEWHERE
    for kind, value, at in tokens(data):
        if kind == "{":
            state = _OPENED
        elif state == _OPENED and kind == "key" and value == "/":
            state = _SLASH
        elif state == _SLASH and kind == "value" and isinstance(value, str):
            state, text = _TEXT, value
        else:
            if state == _TEXT and kind == "}":
                found.append(_cid_at(text, data, at))
            state = _ELSEWHERE
    return found


def decode(data: bytes) -> Any:
    r"""The value, links as :class:`carv2.CID`.

    Raises:
        CodecError: no JSON, nested deeper than 128, a key that comes twice, or a map that begins like a link or
            like bytes and is none.

    >>> decode(b'[{"/": {"bytes": "AQI"}}, null]')
    [b'\x01\x02', None]
    """
    return build(data, _special)


def encode(value: object) -> bytes:
    """The canonical form of a value made of None, bool, int, float, str, bytes, list, dict and CIDs.

    Raises:
        ValueError: no finite number, a text with lone surrogates, too deep a nesting, a map that would be read as
            a link or as bytes.
        TypeError: anything else.

    >>> encode({"b": b"fish", "a": [True]})
    b'{"a":[true],"b":{"/":{"bytes":"ZmlzaA"}}}'
    """
    return text_of(value).encode()


def text_of(value: object, *, indent: str = "", lossy: bool = False) -> str:
    r"""The text that :func:`encode` encodes; with ``indent`` an entry a line.

    ``lossy`` puts a replacement character for each lone surrogate, of names and texts that are not UTF-8.

    >>> text_of([1], indent="\t")
    '[\n\t1\n]'
    """
    return dumps(copied(value, _written, _check_free), indent=indent, lossy=lossy)


def _cid_at(text: str, data: bytes, at: int) -> bytes:
    try:
        return _cid(text).raw
    except ValueError as error:
        fail(str(error.args[0]), data.decode(), at)


def _special(fields: dict[str, Any]) -> object:
    """The link or the bytes that a map is; the map itself, if it is neither.

    Raises:
        ValueError: it begins like one of these and is none.
    """
    if next(iter(fields), None) != "/":
        return fields
    inner = fields["/"]
    if isinstance(inner, str):
        if len(fields) > 1:
            raise ValueError("a map that begins like a link and goes on")
        return _cid(inner)
    if isinstance(inner, dict):
        content = cast("dict[str, object]", inner)
        text = content.get("bytes")
        if next(iter(content), None) == "bytes" and isinstance(text, str):
            if len(fields) > 1 or len(content) > 1:
                raise ValueError("a map that begins like bytes and goes on")
            return _bytes(text)
    return fields


def _cid(text: str) -> CID:
    try:
        if text.startswith(("/", "ipfs:")):  # which CID.of takes too
            raise ValueError("no CID")
        if len(text) > _MAX_SLOW_TEXT and text[0] not in _QUICK_BASES:
            raise ValueError(f"{len(text)} characters, limit {_MAX_SLOW_TEXT}")
        return CID.of(text)
    except ValueError as error:
        raise ValueError(f"a link that is no CID: {error.args[0]}") from error


def _bytes(text: str) -> bytes:
    if len(text) % 4 == 1 or not _BASE64.fullmatch(text):
        raise ValueError("bytes that are no base64")
    return binascii.a2b_base64(text + "=" * (-len(text) % 4))


def _written(item: object) -> object:
    """What stands for a leaf of a value."""
    if isinstance(item, CID):
        return {"/": str(item)}
    if isinstance(item, bytes):
        return {"/": {"bytes": _base64(item)}}
    return item


def _check_free(fields: dict[str, Any]) -> None:
    """Raise ValueError if the map would be read as a link, as bytes, or not at all."""
    inner = fields.get("/")
    if inner is None or min(fields) != "/":
        return
    content = cast("dict[str, object]", inner) if isinstance(inner, dict) else {}
    if isinstance(inner, str) or (min(content, default="") == "bytes" and isinstance(content["bytes"], str)):
        raise ValueError("a map with the key '/' that would be taken for a link or for bytes")


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode().rstrip("=")

"""dag-pb: the protobuf nodes that UnixFS files and directories are made of.

Source: the DAG-PB specification (https://ipld.io/specs/codecs/dag-pb/spec/). What is read and what is refused
follows go-codec-dagpb 1.7 (JavaScript's @ipld/dag-pb reads the same), which takes more than it writes:

* Data before Links, as old IPFS wrote them, but not Links on both sides of Data;
* varints that are not the shortest, of up to 64 bits;
* bytes behind the CID in a Hash field, which are passed over (JavaScript refuses them).

Refused are unknown fields, wrong wire types, a second Data, Hash, Name or Tsize, the fields of a link out of
order, and a link without a valid CID. ``decode(data, strict=True)`` takes only what :func:`encode` writes.

>>> node = decode(bytes.fromhex("120c" "0a0501550001611201661805" "0a020801"))
>>> node.links[0].name, node.links[0].size, node.data.hex()
('f', 5, '0801')
>>> encode(node) == bytes.fromhex("120c0a05015500016112016618050a020801")
True
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from carv2.cid import CID, parse_parts
from carv2.codec._protobuf import read_varint, varint
from carv2.errors import CodecError, FormatError

__all__ = ["PBLink", "PBNode", "decode", "encode", "from_map", "links", "to_map"]

_DATA, _LINK = 0x0A, 0x12  # keys of a node's fields: number << 3 | wire type
_HASH, _NAME, _TSIZE = 0x0A, 0x12, 0x18  # and of a link's
_NUMBER_MASK = 0x1FFFFFFF  # of a field
_PLAIN_V1 = frozenset(bytes.fromhex(f"0a24{cid}") for cid in ("01701220", "01551220", "01711220"))
_PLAIN_V0 = b"\x0a\x22\x12\x20"
"""How a Hash field with a CID of the usual kinds begins."""


class PBLink(NamedTuple):
    """A link of a dag-pb node."""

    cid: bytes
    """The binary CID. :func:`encode` and :func:`to_map` also take what :meth:`carv2.CID.of` takes."""
    name: str | None = None
    """Bytes that are no UTF-8 are there as lone surrogates (``surrogateescape``); None is a name that is not
    there, ``""`` one that is there and empty."""
    size: int | None = None
    """Tsize: bytes of the DAG behind the link, by the word of whoever wrote it."""


class PBNode(NamedTuple):
    """A dag-pb node."""

    links: list[PBLink]
    data: bytes | None = None
    """None is a field that is not there, ``b""`` one that is there and empty."""


def decode(data: bytes, *, strict: bool = False) -> PBNode:
    """Decode a block; ``strict`` refuses what :func:`encode` would write in another way.

    Raises:
        CodecError: it is no dag-pb.

    >>> decode(b"")
    PBNode(links=[], data=None)
    """
    found: list[PBLink] = []
    payload = None
    for key, start, end in _fields(data):
        if key == _LINK:
            found.append(_plain_link(data, start, end) or _read_link(data, start, end))
        else:
            payload = data[start:end]
    node = PBNode(found, payload)
    if strict and encode(node) != data:
        raise CodecError("dag-pb that is not in its one strict form", position=0)
    return node


def links(data: bytes) -> list[bytes]:
    """Binary CIDs of the links, in the order they stand, as :func:`decode` finds them.

    Raises:
        CodecError: the block is no dag-pb.

    >>> links(encode(PBNode([PBLink(bytes.fromhex("0155000161"))])))[0].hex()
    '0155000161'
    """
    return [
        _plain_cid(data, start, end) or _read_link(data, start, end).cid
        for key, start, end in _fields(data)
        if key == _LINK
    ]


def encode(node: PBNode | dict[str, Any]) -> bytes:
    """Encode in the strict form: links, in the order of their names' bytes, then data; shortest varints.

    Links of the same name, or without one, keep their order among themselves. Their CIDs may be anything that
    :meth:`carv2.CID.of` takes, and the node what :func:`to_map` makes of it.

    Raises:
        ValueError: a CID that is none, or a size that is not of 0 to 2**64 - 1; a map that is no node.
        TypeError: neither a node nor a map, or the CID of a link is something else altogether.

    >>> encode(PBNode([], b"fish")).hex()
    '0a0466697368'
    >>> encode({"Links": [], "Data": b"fish"}).hex()
    '0a0466697368'
    """
    if isinstance(node, dict):
        node = from_map(node)
    if not isinstance(node, PBNode):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"a dag-pb block is made of a PBNode or its map, not of {type(node).__name__}")
    names = [(link.name or "").encode("utf-8", "surrogateescape") for link in node.links]
    order = sorted(range(len(names)), key=names.__getitem__)
    out = bytearray()
    for index in order:
        message = _encode_link(node.links[index], names[index])
        out += b"\x12" + varint(len(message)) + message
    if node.data is not None:
        out += b"\x0a" + varint(len(node.data)) + node.data
    return bytes(out)


def to_map(node: PBNode) -> dict[str, Any]:
    """The node in the IPLD data model: ``Links`` with ``Hash``, ``Name`` and ``Tsize``, and ``Data``.

    What is not there is left out. It is the form that paths, selectors and dag-json know.

    >>> to_map(PBNode([PBLink(bytes.fromhex("0155000161"), "f")], b""))
    {'Data': b'', 'Links': [{'Hash': CID('bafkqaalb'), 'Name': 'f'}]}
    """
    links: list[dict[str, object]] = []
    for link in node.links:
        fields = {"Hash": CID.trusted(_cid_of(link)), "Name": link.name, "Tsize": link.size}
        links.append({key: value for key, value in fields.items() if value is not None})
    return {"Links": links} if node.data is None else {"Data": node.data, "Links": links}


def from_map(value: Any) -> PBNode:
    """The inverse of :func:`to_map`.

    Raises:
        ValueError: other keys, or values of other types.

    >>> from_map({"Links": []})
    PBNode(links=[], data=None)
    """
    fields = _checked_map(value, {"Data": bytes, "Links": list})
    links: list[PBLink] = []
    for item in fields.get("Links", ()):
        link = _checked_map(item, {"Hash": CID, "Name": str, "Tsize": int})
        if "Hash" not in link:
            raise ValueError("a dag-pb link without a Hash")
        links.append(PBLink(link["Hash"].raw, link.get("Name"), link.get("Tsize")))
    return PBNode(links, fields.get("Data"))


def _checked_map(value: object, types: dict[str, type]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"expected a map of {', '.join(types)}, got {type(value).__name__}")  # noqa: TRY004
    fields = cast("dict[str, Any]", value)
    for key, item in fields.items():
        if key not in types or not isinstance(item, types[key]) or isinstance(item, bool):
            raise ValueError(f"dag-pb has no {key!r} of type {type(item).__name__}")
    return fields


def _encode_link(link: PBLink, name: bytes) -> bytes:
    cid = _cid_of(link)
    if parse_parts(cid, 0, len(cid), position=0).size != len(cid):
        raise ValueError(f"bytes behind the CID of the link {link.name!r}")
    message = b"\x0a" + varint(len(cid)) + cid
    if link.name is not None:
        message += b"\x12" + varint(len(name)) + name
    if link.size is not None:
        message += b"\x18" + varint(link.size)
    return message


def _cid_of(link: PBLink) -> bytes:
    """The binary CID of a link that somebody made, perhaps with a CID in another form."""
    given: Any = link.cid
    if isinstance(given, bytes):
        return given
    try:
        return CID.of(given).raw
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"the CID of the link {link.name!r}: {error}") from error


def _fields(data: bytes) -> list[tuple[int, int, int]]:
    """Key, start and end of each field of a node; there is at most one Data, with all Links on one side."""
    fields: list[tuple[int, int, int]] = []
    at, size = 0, len(data)
    data_at = -1
    while at < size:
        key, start = _read_key(data, at, size)
        if key not in {_DATA, _LINK}:
            raise _unknown("node", key, at)
        if key == _DATA:
            if data_at >= 0:
                raise CodecError("dag-pb node with a second Data", position=at)
            data_at = len(fields)
        elif data_at > 0:  # there were links before the data
            raise CodecError("dag-pb node with links on both sides of Data", position=at)
        start, end = _read_size(data, start, size)
        fields.append((key, start, end))
        at = end
    return fields


def _plain_stop(data: bytes, at: int) -> int:
    """Where the Hash of a link ends that begins with a usual CID, if the link is that long; 0 for any other."""
    if data[at : at + 6] in _PLAIN_V1:
        return at + 38
    return at + 36 if data[at : at + 4] == _PLAIN_V0 else 0


def _plain_cid(data: bytes, at: int, end: int) -> bytes | None:
    """The CID of a link of the usual shape, the whole link checked; None of any other."""
    start, stop = at + 2, _plain_stop(data, at)
    if stop == 0:
        return None
    at = stop
    if at + 1 < end and data[at] == _NAME and data[at + 1] < 128:
        at += 2 + data[at + 1]
    if at < end and data[at] == _TSIZE:
        at += 1
        limit = min(end, at + 9)
        while at < limit and data[at] > 127:
            at += 1
        if at == limit:
            return None
        at += 1
    return data[start:stop] if at == end else None


def _plain_link(data: bytes, at: int, end: int) -> PBLink | None:
    """A link of the usual shape; None of any other."""
    start, stop = at + 2, _plain_stop(data, at)
    if stop == 0:
        return None
    at, name, size = stop, None, None
    if at + 1 < end and data[at] == _NAME and data[at + 1] < 128:
        at += 2 + data[at + 1]
        name = data[stop + 2 : at].decode("utf-8", "surrogateescape")
    if at < end and data[at] == _TSIZE:
        size, at = read_varint(data, at + 1, end, CodecError)
    return PBLink(data[start:stop], name, size) if at == end else None


def _read_link(data: bytes, at: int, end: int) -> PBLink:
    cid = name = size = None
    seen = 0
    while at < end:
        key, start = _read_key(data, at, end)
        if key not in {_HASH, _NAME, _TSIZE}:
            raise _unknown("link", key, at)
        if key <= seen:
            raise CodecError("fields of a dag-pb link out of order, or twice", position=at)
        seen = key
        if key == _TSIZE:
            size, at = read_varint(data, start, end, CodecError)
            continue
        start, at = _read_size(data, start, end)
        if key == _HASH:
            cid = _checked_cid(data, start, at)
        else:
            name = data[start:at].decode("utf-8", "surrogateescape")
    if cid is None:
        raise CodecError("dag-pb link without a Hash", position=at)
    return PBLink(cid, name, size)


def _checked_cid(data: bytes, start: int, end: int) -> bytes:
    try:
        return data[start : start + parse_parts(data, start, end, position=0).size]
    except FormatError as error:
        raise CodecError(f"dag-pb link: {error.args[0]}", position=error.position) from error


def _read_key(data: bytes, at: int, end: int) -> tuple[int, int]:
    return (data[at], at + 1) if data[at] < 128 else read_varint(data, at, end, CodecError)


def _read_size(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Start and end of a field's bytes, of which the size stands at ``at``."""
    size, start = read_varint(data, at, end, CodecError)
    if size > end - start:
        raise CodecError(f"dag-pb field: wanted {size} bytes, got {end - start}", position=start)
    return start, start + size


def _unknown(where: str, key: int, at: int) -> CodecError:
    number, wire_type = key >> 3 & _NUMBER_MASK, key & 7
    return CodecError(f"dag-pb {where} with a field {number} of wire type {wire_type}", position=at)

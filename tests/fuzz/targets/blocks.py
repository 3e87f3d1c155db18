"""What blocks are made of: dag-pb, and the scans for links in dag-cbor and dag-json beside their decoders."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from carv2.cid import CID
from carv2.codec import dag_cbor, dag_json, dag_pb, dasl
from carv2.codec.dag_pb import PBNode
from carv2.errors import CodecError
from fuzz.target import REFUSED, Question, Sabotage, Target

if TYPE_CHECKING:
    from collections.abc import Iterator


def is_within(error: CodecError, data: bytes) -> bool:
    """Whether an error points into the block, or right behind it."""
    return 0 <= error.position <= len(data)


def refused(found: object, data: bytes) -> bool:
    """Whether that is an error, and a good one."""
    if isinstance(found, CodecError):
        assert is_within(found, data), found
        return True
    return False


def attempt(read: Any, data: bytes, **options: bool) -> Any:
    """What ``read`` makes of the block, or its error."""
    try:
        return read(data, **options)
    except CodecError as error:
        return error


# -- dag-pb ---------------------------------------------------------------------------------------------------


def check_dag_pb(data: bytes) -> str:
    node, links, strict = attempt(dag_pb.decode, data), attempt(dag_pb.links, data), attempt(
        dag_pb.decode, data, strict=True
    )  # fmt: skip
    if refused(node, data):
        assert refused(links, data)
        assert refused(strict, data)
        return REFUSED
    assert links == [link.cid for link in node.links]
    assert dag_pb.from_map(dag_pb.to_map(node)) == node
    written = dag_pb.encode(node)
    ordered = sorted(node.links, key=lambda link: (link.name or "").encode("utf-8", "surrogateescape"))
    assert dag_pb.decode(written, strict=True) == PBNode(ordered, node.data)
    if refused(strict, data):
        assert written != data
        return "another form"
    assert strict == node
    assert written == data
    return "with links" if links else "strict"


def ask_dag_pb(data: bytes) -> Question:
    found = attempt(dag_pb.links, data)
    return Question("dag-pb", data, "error" if isinstance(found, CodecError) else _said(found))


def _said(links: list[bytes]) -> str:
    return f"ok {','.join(link.hex() for link in links) or '-'}"


_DECODE_PB, _LINKS_PB, _TO_MAP, _ENCODE = dag_pb.decode, dag_pb.links, dag_pb.to_map, dag_pb.encode

DAG_PB = Target(
    "dag-pb",
    check_dag_pb,
    frozenset({"strict", "with links", "another form", REFUSED}),
    {
        "takes any order for strict": Sabotage(dag_pb, "decode", lambda data, **_: _DECODE_PB(data)),
        "does not see the last link": Sabotage(dag_pb, "links", lambda data: _LINKS_PB(data)[:-1]),
        "loses empty data": Sabotage(
            dag_pb, "to_map", lambda node: _TO_MAP(node._replace(data=node.data or None))
        ),
        "mixes up links of one name": Sabotage(
            dag_pb, "encode", lambda node: _ENCODE(node._replace(links=node.links[::-1]))
        ),
    },
    ask_dag_pb,
    words=(b"\x0a\x24\x01\x55\x12\x20", b"\x0a\x22\x12\x20", b"\x12\x00", b"\x18\x00", b"\x12\x2a"),
)


# -- values ---------------------------------------------------------------------------------------------------


def links_in(value: object) -> Iterator[bytes]:
    """The links of a decoded value, in any order."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, CID):
            yield item.raw
        elif isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def is_plain(value: object) -> bool:
    """Whether all that is in a value can be written: finite numbers, texts without lone surrogates."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, float) and not math.isfinite(item):
            return False
        if isinstance(item, int) and not -(1 << 64) <= item < 1 << 64:
            return False
        if isinstance(item, str) and not item.isascii() and any("\ud800" <= char <= "\udfff" for char in item):
            return False
        if isinstance(item, dict):
            waiting += [*item, *item.values()]
        elif isinstance(item, list):
            waiting += item
    return True


def fits_go(value: object) -> bool:
    """Whether Go has the numbers in a value: its integers have 64 bits, with a sign where they are negative."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, int) and not -(1 << 63) <= item < 1 << 63:
            return False
        if isinstance(item, (dict, list)):
            waiting += item.values() if isinstance(item, dict) else item
    return True


def check_dag_cbor(data: bytes) -> str:
    """The scan for links accepts what the lenient decoder does; the strict one, and DASL, only what is written."""
    links, value = attempt(dag_cbor.links, data), attempt(dag_cbor.decode, data, strict=False)
    strict = attempt(dag_cbor.decode, data)
    check_drisl(data, strict)
    if refused(links, data):
        assert refused(value, data)
        assert refused(strict, data)
        return REFUSED
    if refused(value, data):  # of a map with a key twice there is no one value
        assert refused(strict, data)
        return "links only"
    assert set(links_in(value)) <= set(links)
    assert is_within(CodecError("", position=0), data)
    if refused(strict, data):
        return "another form"
    assert repr(strict) == repr(value)
    assert sorted(links) == sorted(links_in(strict))
    assert dag_cbor.encode(strict) == data
    return "with links" if links else "strict"


def check_drisl(data: bytes, strict: object) -> None:
    """DRISL is strict dag-cbor, but for links to what are no DASL CIDs."""
    found = attempt(dasl.check, data)
    if refused(found, data):
        assert isinstance(strict, CodecError) or "a link" in found.args[0]
    else:
        assert not isinstance(strict, CodecError)


def ask_dag_cbor(data: bytes) -> Question | None:
    strict = attempt(dag_cbor.decode, data)
    if isinstance(strict, CodecError) or not fits_go(strict):
        return None
    return Question("dag-cbor", data, _said(dag_cbor.links(data)))


_LINKS_CBOR, _DECODE_CBOR, _ENCODE_CBOR = dag_cbor.links, dag_cbor.decode, dag_cbor.encode

DAG_CBOR = Target(
    "dag-cbor",
    check_dag_cbor,
    frozenset({"strict", "with links", "another form", "links only", REFUSED}),
    {
        "does not see the last link": Sabotage(dag_cbor, "links", lambda data: _LINKS_CBOR(data)[:-1]),
        "takes anything for strict": Sabotage(
            dag_cbor, "decode", lambda data, strict=True: _DECODE_CBOR(data, strict=False)
        ),
        "takes anything for DRISL": Sabotage(dasl, "check", lambda _: None),
        "scans what cannot be read": Sabotage(dag_cbor, "links", lambda _: []),
    },
    ask_dag_cbor,
    words=(b"\xd8\x2a\x58\x25\x00\x01\x71\x12\x20", b"\xa1\x61", b"\x9f", b"\xbf", b"\xff", b"\xf9\x7e\x00"),
)


def check_dag_json(data: bytes) -> str:
    links, value = attempt(dag_json.links, data), attempt(dag_json.decode, data)
    if refused(links, data):
        assert refused(value, data)
        return REFUSED
    if refused(value, data):
        return "links only"
    assert sorted(links) == sorted(links_in(value))
    if not is_plain(value):
        return "value"
    try:
        written = dag_json.encode(value)
    except ValueError:  # a map that would be read as a link, or bytes
        return "value"
    assert repr(dag_json.decode(written)) == repr(_sorted(value))
    assert dag_json.encode(dag_json.decode(written)) == written
    return "with links" if links else "value"


def _sorted(value: object) -> Any:
    """The value with its maps in the order that they are written in."""
    return dag_json.decode(dag_json.encode(value))


LONG_NUMBER = re.compile(rb"[0-9]{19}")
"""What Go takes for an integer first, also in front of a point."""


def ask_dag_json(data: bytes) -> Question | None:
    value = attempt(dag_json.decode, data)
    if isinstance(value, CodecError) or not fits_go(value) or LONG_NUMBER.search(data):
        return None
    return Question("dag-json", data, _said(dag_json.links(data)))


_LINKS_JSON, _ENCODE_JSON = dag_json.links, dag_json.encode

DAG_JSON = Target(
    "dag-json",
    check_dag_json,
    frozenset({"value", "with links", "links only", REFUSED}),
    {
        "does not see the last link": Sabotage(dag_json, "links", lambda data: _LINKS_JSON(data)[:-1]),
        "sees none where the text is none": Sabotage(dag_json, "links", lambda _: []),
        "writes other links": Sabotage(
            dag_json, "encode", lambda value: _ENCODE_JSON(value).replace(b"bafk", b"bafkr")
        ),
    },
    ask_dag_json,
    words=(b'{"/":"', b'{"/":{"bytes":"', b'"}}', b"1e5", b"\\u00e9", b"null", b"true", b"bafkqaalb"),
)

TARGETS = (DAG_PB, DAG_CBOR, DAG_JSON)

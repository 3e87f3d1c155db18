"""Decoded blocks as the IPLD data model has them: maps, lists, and what a path segment names in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

from carv2.cid import CID
from carv2.codec import dag_cbor, decode
from carv2.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from carv2.codec.dag_pb import PBLink, PBNode

Segment: TypeAlias = "str | int"
"""A step of a path: a key of a map, or a place in a list."""

DAG_CBOR = 0x71
_MAX_DIGITS = 18


def decoded(cid: CID, data: bytes) -> Any:
    """The value of a block; dag-cbor is read as go-ipld-prime reads it, since old chains are not all strict."""
    if cid.codec != DAG_CBOR:
        return decode(cid, data)
    try:
        return dag_cbor.decode(data, strict=False)
    except CodecError as error:
        error.cid = cid
        raise


def data_model(node: PBNode) -> dict[str, Any]:
    """A dag-pb node as its specification's schema has it: Links come before Data."""
    value: dict[str, Any] = {"Links": list(map(_link, node.links))}
    if node.data is not None:
        value["Data"] = node.data
    return value


def _link(link: PBLink) -> dict[str, Any]:
    value: dict[str, Any] = {"Hash": CID.trusted(link.cid)}
    if link.name is not None:
        value["Name"] = link.name
    if link.size is not None:
        value["Tsize"] = link.size
    return value


def is_container(value: object) -> bool:
    """Whether something can be in it: a map or a list."""
    return isinstance(value, (dict, list))


def list_length(value: object) -> int:
    """Items of a list; 0 for anything else."""
    return len(cast("list[object]", value)) if isinstance(value, list) else 0


def segments_of(value: Any) -> Iterable[Segment]:
    """The segments that lead into a map or a list, in its order."""
    return cast("Iterable[Segment]", value) if isinstance(value, dict) else range(len(value))


def children(value: object, segment: Segment) -> tuple[Any, ...]:
    """What ``segment`` names in ``value``, as a tuple of one; empty if that is nothing.

    A number in text names a place in a list, and a number the key of a map that is its text.
    """
    if isinstance(value, dict):
        fields = cast("dict[Segment, Any]", value)
        key = segment if segment in fields else str(segment)
        return (fields[key],) if key in fields else ()
    if isinstance(value, list):
        items = cast("list[object]", value)
        at = index_of(segment)
        return (items[at],) if at is not None and 0 <= at < len(items) else ()
    return ()


def index_of(segment: Segment) -> int | None:
    """``segment`` as a place in a list; None if it is none."""
    if isinstance(segment, int):
        return segment
    if len(segment) <= _MAX_DIGITS and segment.isascii() and segment.isdigit():
        return int(segment)
    return None

"""Which codecs there are: a table from multicodec numbers to what finds links, decodes and encodes.

The table is replaced as a whole by :func:`register`, so that calls in other threads see it before or after.

Source of the codes: the multicodec table (https://github.com/multiformats/multicodec).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from carv2 import _varint, multicodec
from carv2.cid import CID, DAG_PB
from carv2.codec import cbor, dag_cbor, dag_json, dag_pb, json
from carv2.errors import CodecError, UnknownCodecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import TypeAlias

    from carv2.cid import CIDLike

    _FindLinks: TypeAlias = Callable[[bytes], list[bytes]]

__all__ = ["Codec", "decode", "encode", "links", "links_of", "register"]


class Codec(NamedTuple):
    """What carv2 knows of a codec. The functions get the data of a block whose hash says that they are right."""

    code: int
    """The multicodec number that stands in CIDs."""
    name: str
    links: Callable[[bytes], Iterable[CIDLike]]
    """Binary CIDs in the order they stand, repeats kept; raises :class:`carv2.errors.CodecError`. Of a codec that
    is registered, they may be anything that :meth:`carv2.CID.of` takes."""
    decode: Callable[[bytes], Any]
    """The value, links as :class:`carv2.CID`; raises :class:`carv2.errors.CodecError`."""
    encode: Callable[[Any], bytes] | None = None
    """The data of a value; raises ValueError or TypeError. None where nothing can be written."""


def links_of(cid_bytes: bytes, data: bytes) -> list[bytes]:
    """Binary CIDs that the block ``data`` of the binary CID ``cid_bytes`` links to, repeats kept.

    For loops over many blocks: the codec is found by the first bytes of the CID, and no object is made but the
    list and its bytes.

    Raises:
        CodecError: ``data`` break the rules of the codec.
        UnknownCodecError: no codec is registered for it.

    >>> links_of(CID.of_data(b"fish").raw, b"fish")
    []
    """
    find = _links_by_head.get(cid_bytes[:2]) or _finder(_codec_of(CID(cid_bytes)))
    try:
        return find(data)
    except CodecError as error:
        error.cid = error.cid or CID(cid_bytes)
        raise


def links(cid: CIDLike, data: bytes) -> list[CID]:
    """CIDs that the block links to, in the order they stand, repeats kept.

    Raises:
        CodecError: ``data`` break the rules of the codec.
        UnknownCodecError: no codec is registered for it.

    >>> node = dag_pb.encode(dag_pb.PBNode([dag_pb.PBLink(CID.of_data(b"fish").raw)]))
    >>> links(CID.of_data(node, codec="dag-pb"), node) == [CID.of_data(b"fish")]
    True
    """
    return [CID.trusted(found) for found in links_of(CID.of(cid).raw, data)]


def decode(cid: CIDLike, data: bytes) -> Any:
    """The value of a block, by the codec of its CID; links become :class:`carv2.CID`.

    ``data`` are not hashed. raw gives bytes, dag-pb a :class:`carv2.codec.dag_pb.PBNode`, the others None, bool,
    int, float, str, bytes, list and dict.

    Raises:
        CodecError: ``data`` break the rules of the codec.
        UnknownCodecError: no codec is registered for it.

    >>> decode(CID.of_data(b"fish"), b"fish")
    b'fish'
    """
    cid = CID.of(cid)
    codec = _codec_of(cid)
    try:
        return codec.decode(data)
    except CodecError as error:
        error.cid = error.cid or cid
        raise


def encode(codec: str | int, value: object) -> bytes:
    """The data of a block for ``value``, by the codec of that multicodec name or number.

    Raises:
        ValueError: the codec cannot hold ``value``; or the name is neither a registered codec's nor in the table
            of multicodec.
        TypeError: the codec cannot hold ``value``, by its type.
        UnknownCodecError: multicodec knows the name, or has room for the number, but no codec is registered for
            it, or one that only reads.

    >>> encode("raw", b"fish")
    b'fish'
    >>> encode("git-raw", b"fish")
    Traceback (most recent call last):
    carv2.errors.UnknownCodecError: no codec here for git-raw (0x78); carv2.codec.register() takes one
    """
    code = codec if isinstance(codec, int) else _code_of(codec)
    known = _codecs.get(code)
    if known is None:
        raise _unknown(code)
    if known.encode is None:
        raise UnknownCodecError(f"the codec {known.name} ({code:#x}) only reads", code=code)
    return known.encode(value)


def register(codec: Codec, *, replace: bool = False) -> None:
    """Add a codec, for the whole process; ``replace`` allows one in the place of another.

    Raises:
        ValueError: there is one of that number, and ``replace`` is not set.

    >>> import json
    >>> register(Codec(0x3FFFFF, "my-notes", links=lambda data: [], decode=json.loads))
    >>> decode(CID.of_data(b'{"a": 1}', codec=0x3FFFFF), b'{"a": 1}')
    {'a': 1}
    """
    global _codecs, _links_by_head  # noqa: PLW0603  (both are replaced, never changed)
    with _lock:
        if codec.code in _codecs and not replace:
            raise ValueError(f"there is a codec {_codecs[codec.code].name} with the number {codec.code:#x}")
        _codecs = {**_codecs, codec.code: _converted(codec)}
        _links_by_head = _heads(_codecs)


def _converted(codec: Codec) -> Codec:
    """The codec with ``links`` that give binary CIDs, as :func:`links_of` does, whatever its own give."""

    def find(data: bytes) -> list[bytes]:
        return [link if isinstance(link, bytes) else _raw_of(link, codec) for link in codec.links(data)]

    return codec._replace(links=find)


def _raw_of(link: CIDLike, codec: Codec) -> bytes:
    try:
        return CID.of(link).raw
    except TypeError as error:
        raise TypeError(f"a link by the codec {codec.name} ({codec.code:#x}): {error}") from error


def _finder(codec: Codec) -> _FindLinks:
    return cast("_FindLinks", codec.links)  # of those in the table; see _converted


def _codec_of(cid: CID) -> Codec:
    codec = _codecs.get(cid.codec)
    if codec is None:
        raise _unknown(cid.codec, cid)
    return codec


def _code_of(name: str) -> int:
    found = [codec.code for codec in _codecs.values() if codec.name == name]
    return found[0] if found else multicodec.code_of(name)


def _unknown(code: int, cid: CID | None = None) -> UnknownCodecError:
    block = "" if cid is None else f" of {cid.short()}"
    name = multicodec.name_of(code)
    why = f"no codec here for {name} ({code:#x}){block}; carv2.codec.register() takes one"
    return UnknownCodecError(why, code=code, cid=cid)


def _heads(codecs: Mapping[int, Codec]) -> dict[bytes, _FindLinks]:
    """What finds links by the first two bytes of a CID, where these say the codec."""
    heads = {b"\x01" + _varint.encode(code): _finder(codec) for code, codec in codecs.items() if code < 128}
    if DAG_PB in codecs:
        heads[b"\x12\x20"] = _finder(codecs[DAG_PB])  # of a CIDv0
    return heads


def _no_links(_data: bytes) -> list[bytes]:
    return []


def _raw_encode(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"a raw block is bytes, not {type(value).__name__}")
    return value


_lock = threading.Lock()
_codecs: Mapping[int, Codec] = {
    codec.code: codec
    for codec in (
        Codec(0x55, "raw", _no_links, bytes, _raw_encode),
        Codec(DAG_PB, "dag-pb", dag_pb.links, dag_pb.decode, dag_pb.encode),
        Codec(0x71, "dag-cbor", dag_cbor.links, dag_cbor.decode, dag_cbor.encode),
        Codec(0x0129, "dag-json", dag_json.links, dag_json.decode, dag_json.encode),
        Codec(0x51, "cbor", _no_links, cbor.decode, cbor.encode),  # no links in Kubo and go-ipld-prime either
        Codec(0x0200, "json", _no_links, json.decode, json.encode),
    )
}
_links_by_head = _heads(_codecs)

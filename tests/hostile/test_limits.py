"""Each limit on what strangers may say, from both sides: what reaches it is taken, one more is refused."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import io
import itertools
import json
import struct
import tempfile
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import carv2
from carv2 import CID, _multibase, codec, dag, index, unixfs
from carv2._varint import decode as decode_varint
from carv2.blockstore import MemoryBlockstore, ReadWriteBlockstore
from carv2.dag._selector_parse import parse as parse_selector
from carv2.decoder import iter_blocks
from carv2.errors import (
    BudgetError,
    CodecError,
    FormatError,
    IndexFormatError,
    LimitError,
    RpcError,
    SelectorError,
    TokenError,
    UnixFSError,
    UnsafePathError,
)
from carv2.filestore import record
from carv2.imports.lotus import read_records
from carv2.ipfs.gateway import _request as gateway_request
from carv2.ipfs.gateway._refusal import RefusalError
from carv2.rpc import _jsonrpc, tokens
from helpers import archives
from helpers.archives import DAG_CBOR, DAG_PB, RAW, cbor_head, cid_v1, varint
from helpers.unixfs import Dag, identity

if TYPE_CHECKING:
    from collections.abc import Callable


class Limit(NamedTuple):
    """Something that is counted."""

    most: int
    refusal: type[Exception]
    take: Callable[[int], object]
    """Has so many of it read; what it returns is the proof that it was."""


# -- archives ---------------------------------------------------------------------------------------------------


def header_of(size: int) -> bytes:
    """A CARv1 header of that many bytes of CBOR: its only root is an identity CID that is large enough."""
    digest = size - 60
    while True:
        body = archives.header([archives.identity(bytes(digest))])
        found = len(body) - len(varint(len(body)))
        if found >= size:
            assert found == size
            return body
        digest += size - found


def by_reader(data: bytes, **limits: int) -> list[Any]:
    with carv2.open(data, limits=carv2.Limits(**limits)) as car:
        assert isinstance(car.roots, tuple)
        return list(car)


def by_decoder(data: bytes, **limits: int) -> list[Any]:
    return list(iter_blocks([data], limits=carv2.Limits(**limits)))


def by_verify(data: bytes, **limits: int) -> None:
    """Raises what :func:`carv2.verify` only reports."""
    for problem in carv2.verify(data, limits=carv2.Limits(**limits)).problems:
        assert problem.kind == "LimitError"
        raise LimitError(problem.message, found=0, allowed=0, position=problem.position or 0)


READERS: dict[str, Callable[..., object]] = {"reader": by_reader, "decoder": by_decoder, "verify": by_verify}


def section_of(size: int) -> bytes:
    """An archive of one section of that size, whose CID is 36 bytes of it."""
    data = bytes(size - 36)
    return archives.EMPTY_HEADER + archives.section(cid_v1(data), data)


def write_header(size: int) -> int:
    (root,) = carv2.CarV1Header.parse(header_of(size), limits=carv2.Limits(header=size))[0].roots
    return len(b"".join(carv2.iter_car([root], [])))


def write_section(size: int) -> int:
    data = bytes(size - 36)
    return len(b"".join(carv2.iter_car([], [(CID(cid_v1(data)), data)])))


def listed(size: int) -> int:
    """Records of an index that is made of a section with a CID of that size."""
    digest = bytes(size - 3 - len(varint(size - 5)))
    cid = archives.identity(digest)
    assert len(cid) == size
    payload = archives.v1([], [(cid, digest)])
    return len(carv2.build_index(payload, identity=True).to_index())


def put_cid(size: int) -> int:
    digest = bytes(size - 3 - len(varint(size - 5)))
    with tempfile.TemporaryDirectory() as folder:
        store = ReadWriteBlockstore.create(f"{folder}/x.car", store_identity=True)
        with contextlib.closing(store):
            store.put(CID(archives.identity(digest)), digest)
            return len(store)


def having(made: Callable[[int], bytes], reader: str) -> Callable[[int], object]:
    """Reads what is made of a size."""
    return lambda size: READERS[reader](made(size))


ARCHIVES = {
    **{f"header, by the {name}": Limit(32 << 20, LimitError, having(header_of, name)) for name in READERS},
    **{f"section, by the {name}": Limit(8 << 20, LimitError, having(section_of, name)) for name in READERS},
    "header, by the writer": Limit(32 << 20, LimitError, write_header),
    "section, by the writer": Limit(8 << 20, LimitError, write_section),
    "CID that is listed in an index": Limit(2 << 10, LimitError, listed),
    "CID that is put": Limit(2 << 10, LimitError, put_cid),
    "bytes of a varint": Limit(
        9, FormatError, lambda size: decode_varint(b"\xff" * (size - 1) + b"\x01", 0, size, position=0)
    ),
}


# -- indexes ----------------------------------------------------------------------------------------------------


def parsed(raw: bytes) -> index.Index:
    return index.parse(raw)


def wide(width: int) -> int:
    head = b"\x80\x08" + struct.pack("<iIQ", 1, width, width)
    return len(parsed(head + bytes(width)))


def buckets(count: int) -> index.Index:
    return parsed(b"\x80\x08" + struct.pack("<i", count) + struct.pack("<IQ", 40, 0) * count)


def hash_codes(count: int) -> index.Index:
    body = b"".join(struct.pack("<Qi", code, 0) for code in range(count))
    return parsed(b"\x81\x08" + struct.pack("<i", count) + body)


def codes_and_buckets(count: int) -> index.Index:
    """Two hash functions, the first with one bucket."""
    first = struct.pack("<QiIQ", 1, 1, 40, 0)
    second = struct.pack("<Qi", 2, count - 3) + struct.pack("<IQ", 40, 0) * (count - 3)
    return parsed(b"\x81\x08" + struct.pack("<i", 2) + first + second)


INDEXES = {
    "bytes of an index record": Limit(32 << 20, IndexFormatError, wide),
    "buckets of format 0x0400": Limit(1 << 16, IndexFormatError, buckets),
    "hash functions of format 0x0401": Limit(1 << 16, IndexFormatError, hash_codes),
    "hash functions and buckets of format 0x0401": Limit(1 << 16, IndexFormatError, codes_and_buckets),
}


# -- what is in blocks ------------------------------------------------------------------------------------------


def nested(code: int, opening: bytes, inside: bytes, closing: bytes = b"") -> Callable[[int], object]:
    cid = cid_v1(b"", codec=code)
    return lambda depth: codec.decode(cid, opening * depth + inside + closing * depth)


def linked(code: int, opening: bytes, inside: bytes) -> Callable[[int], object]:
    cid = cid_v1(b"", codec=code)
    return lambda depth: codec.links_of(cid, opening * depth + inside)


def pb_number(size: int) -> object:
    """The size of a dag-pb link, in so many bytes."""
    tsize = b"\x18" + b"\xff" * (size - 1) + b"\x01"
    link = b"\x0a\x04\x01\x55\x00\x00" + tsize
    return codec.decode(cid_v1(b"", codec=DAG_PB), b"\x12" + bytes([len(link)]) + link)


BLOCKS = {
    "levels of dag-cbor": Limit(128, CodecError, nested(DAG_CBOR, b"\x81", b"\x01")),
    "levels of dag-cbor, for links": Limit(128, CodecError, linked(DAG_CBOR, b"\x81", b"\x01")),
    "levels of maps in dag-cbor": Limit(128, CodecError, nested(DAG_CBOR, b"\xa1\x61a", b"\x01")),
    "levels of CBOR without their sizes": Limit(128, CodecError, nested(0x51, b"\x9f", b"\x01", b"\xff")),
    "levels of dag-json": Limit(128, CodecError, nested(0x0129, b"[", b"1", b"]")),
    "levels of maps in dag-json": Limit(128, CodecError, nested(0x0129, b'{"a":', b"1", b"}")),
    "levels of JSON": Limit(128, CodecError, nested(0x0200, b"[", b"1", b"]")),
    "bytes of a protobuf number": Limit(10, CodecError, pb_number),
}


# -- DAGs -------------------------------------------------------------------------------------------------------


def chain(length: int) -> tuple[MemoryBlockstore, CID]:
    """Blocks that each link to the next; so many links."""
    blocks = [archives.node()]
    for _ in range(length):
        blocks.append(archives.node(blocks[-1][0]))
    return MemoryBlockstore([(CID(cid), data) for cid, data in blocks]), CID(blocks[-1][0])


def folders(depth: int) -> tuple[MemoryBlockstore, CID]:
    made = Dag()
    inner = made.raw(b"x")
    for _ in range(depth):
        inner = made.directory({"d": inner})
    return MemoryBlockstore((CID(cid), data) for cid, data in made.blocks.items()), CID(inner.cid)


def large_identity(size: int) -> object:
    """Links that come out of a CID of that size."""
    inner = cbor_head(4, 1) + cbor_head(2, size) + bytes(size)
    for spare in range(size, 0, -1):
        inner = cbor_head(4, 1) + cbor_head(2, spare) + bytes(spare)
        if len(archives.identity(inner, codec=DAG_CBOR)) <= size:
            break
    assert len(archives.identity(inner, codec=DAG_CBOR)) == size
    return list(dag.walk({}, CID(archives.identity(inner, codec=DAG_CBOR))))


def selectors_within(depth: int) -> object:
    text = '{"a":{">":' * (depth - 1) + '{".":{}}' + "}}" * (depth - 1)
    return parse_selector(text)


def union_of(count: int) -> object:
    members = ",".join('{"a":{">":{".":{}}}}' if at % 2 else '{".":{}}' for at in range(count))
    return parse_selector(f'{{"|":[{members}]}}')


def selector_of(size: int) -> object:
    text = '{".":{}}'
    return parse_selector(text + " " * (size - len(text)))


def way(length: int) -> object:
    store, root = chain(length - 1)
    return dag.resolve(store, root, "/".join(["0"] * (length - 1))).blocks


DAGS = {
    "levels of links": Limit(1024, BudgetError, lambda depth: list(dag.walk(*chain(depth)))),
    "levels of links, level by level": Limit(
        1024, BudgetError, lambda depth: list(dag.walk(*chain(depth), order="bfs"))
    ),
    "blocks on the way of a path": Limit(1024, BudgetError, way),
    "bytes of an identity CID with links": Limit(2 << 10, BudgetError, large_identity),
    "selectors within one another": Limit(128, SelectorError, selectors_within),
    "members of a union": Limit(4096, SelectorError, union_of),
    "characters of a selector": Limit(1 << 20, SelectorError, selector_of),
}


# -- files and folders ------------------------------------------------------------------------------------------


def entries(depth: int) -> list[Any]:
    store, root = folders(depth)
    return list(unixfs.walk_entries(store, root))


def shard_below(levels: int, fanout: int) -> object:
    """A directory of so many levels of shards, the last of them empty but for a shard that is missing."""
    made = Dag()
    width = len(f"{fanout - 1:X}")
    inner = made.raw(b"x")
    name = b""
    for level in range(levels):
        inner = made.shard([(b"0" * width + (name if level else b""), inner)], b"\x01", fanout=fanout)
    del made.blocks[next(iter(made.blocks))]
    store = MemoryBlockstore((CID(cid), data) for cid, data in made.blocks.items())
    missing: list[Any] = []
    return [*unixfs.walk_entries(store, CID(inner.cid), on_missing=missing.append), *missing]


def fanout_of(bits: int) -> object:
    made = Dag()
    root = made.shard([], b"", fanout=1 << bits)
    return list(unixfs.walk_entries(MemoryBlockstore([(CID(root.cid), made.blocks[root.cid])]), CID(root.cid)))


def bitfield_of(size: int) -> object:
    made = Dag()
    root = made.shard([], bytes(size), fanout=256)
    return list(unixfs.walk_entries(MemoryBlockstore([(CID(root.cid), made.blocks[root.cid])]), CID(root.cid)))


def inlined(size: int) -> object:
    made = Dag()
    inside = identity(bytes(size), codec=RAW)._replace(size=size)
    root = made.file([inside])
    return list(unixfs.read(MemoryBlockstore([(CID(root.cid), made.blocks[root.cid])]), CID(root.cid)))


def named(size: int) -> object:
    return unixfs.check_name("x" * size)


FILES = {
    "folders within one another": Limit(1024, BudgetError, entries),
    "levels of shards of 256": Limit(8, UnixFSError, lambda levels: shard_below(levels, 256)),
    "levels of shards of 8": Limit(21, UnixFSError, lambda levels: shard_below(levels, 8)),
    "levels of shards of 1024": Limit(6, UnixFSError, lambda levels: shard_below(levels, 1024)),
    "fan-out, as a power of two": Limit(10, UnixFSError, fanout_of),
    "bytes of the bit field of a shard of 256": Limit(32, UnixFSError, bitfield_of),
    "bytes of an identity CID": Limit(128, UnixFSError, inlined),
    "bytes of a name": Limit(255, UnsafePathError, named),
}


# -- records and messages ---------------------------------------------------------------------------------------


def record_of(size: int) -> object:
    filler = size - 3
    return record.decode(b"\x22" + varint(filler) + bytes(filler))


def path_of(size: int) -> object:
    return record.decode(b"\x0a" + varint(size) + b"x" * size)


def line_of(size: int) -> object:
    head, tail = b'{"id":"7","Labels":{"a":"', b'"}}'
    return list(read_records(io.BytesIO(head + b"x" * (size - len(head) - len(tail)) + tail)))


def object_of(size: int) -> object:
    head, tail = b'{"7":{"Labels":{"a":"', b'"}}}'
    return list(read_records(io.BytesIO(head + b"x" * (size - len(head) - len(tail)) + tail)))


def batch_of(count: int) -> object:
    call = {"jsonrpc": "2.0", "id": 1, "method": "sea"}
    return _jsonrpc.parse(json.dumps([call] * count).encode(), max_batch=50)


def parameters(count: int) -> object:
    return gateway_request.request_of(
        url("&".join(f"a{at}=1" for at in range(count - 1)) + "&format=raw"), 1 << 20
    )


def url(query: str) -> dict[str, Any]:
    return {"path": f"/ipfs/{CID.of_data(b'fish')}", "query_string": query.encode(), "headers": []}


def url_of(size: int) -> object:
    bare = url("format=raw&filename=")
    used = len(bare["path"]) + len(bare["query_string"])
    return gateway_request.request_of(url("format=raw&filename=" + "x" * (size - used)), 4096)


def signed(header: bytes, claims: bytes) -> str:
    """A token that is right in everything but its size, made without PyJWT."""
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, claims))
    signature = hmac.new(bytes(32), text, hashlib.sha256).digest()
    return (text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def token_of(size: int) -> object:
    for spare, more in itertools.product(range(3), range(size * 3 // 4)):
        header = b'{"alg":"HS256","typ":"JWT"}' + b" " * spare
        token = signed(header, b'{"Allow":["read"]}' + b" " * (size * 3 // 4 - 130 + more))
        if len(token) == size:
            return tokens.read_token(bytes(32), token)
    raise AssertionError(size)


def in_base58(size: int) -> object:
    """Bytes out of a text of that size; a shorter one would be no CID either, but for another reason."""
    return _multibase.decode("z" + "1" * (size - 1))


MESSAGES = {
    "bytes of a record": Limit(8 << 10, CodecError, record_of),
    "bytes of a path in a record": Limit(4096, CodecError, path_of),
    "bytes of a record of Lotus'": Limit(1 << 20, LimitError, line_of),
    "bytes of all records of Lotus'": Limit(64 << 20, LimitError, object_of),
    "characters of a token": Limit(4096, TokenError, token_of),
    "calls of a batch": Limit(50, RpcError, batch_of),
    "parameters of a gateway's URL": Limit(64, RefusalError, parameters),
    "bytes of a gateway's URL": Limit(4096, RefusalError, url_of),
    "bytes in base58": Limit(2 << 10, ValueError, lambda size: _multibase.encode(bytes(size), "base58btc")),
    "characters in base58": Limit(1 + (16 << 10), ValueError, in_base58),
}


LIMITS = {**ARCHIVES, **INDEXES, **BLOCKS, **DAGS, **FILES, **MESSAGES}


@pytest.mark.parametrize("name", LIMITS)
def test_what_reaches_a_limit_is_taken(name: str) -> None:
    limit = LIMITS[name]
    limit.take(limit.most)


@pytest.mark.parametrize("name", LIMITS)
def test_what_is_one_above_it_is_refused(name: str) -> None:
    limit = LIMITS[name]
    with pytest.raises(limit.refusal) as caught:
        limit.take(limit.most + 1)
    assert type(caught.value) is limit.refusal

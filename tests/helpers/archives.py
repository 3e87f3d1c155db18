"""Archives built byte by byte, in a few lines of their own: the code under test has no hand in them."""

from __future__ import annotations

import hashlib
import struct
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PRAGMA = bytes.fromhex("0aa16776657273696f6e02")
EMPTY_HEADER = bytes.fromhex("11a265726f6f7473806776657273696f6e01")
RAW, DAG_PB, DAG_CBOR = 0x55, 0x70, 0x71
IDENTITY, SHA2_256 = 0x00, 0x12
FULLY_INDEXED = b"\x80" + bytes(15)


def varint(value: int) -> bytes:
    """LEB128."""
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def multihash(code: int, digest: bytes) -> bytes:
    return varint(code) + varint(len(digest)) + digest


def cid_v1(data: bytes, *, codec: int = RAW, code: int = SHA2_256, digest: bytes | None = None) -> bytes:
    """Binary CIDv1 of ``data``; the hash is sha2-256 unless ``digest`` is given."""
    return b"\x01" + varint(codec) + multihash(code, hashlib.sha256(data).digest() if digest is None else digest)


def cid_v0(data: bytes) -> bytes:
    return multihash(SHA2_256, hashlib.sha256(data).digest())


def identity(data: bytes, *, codec: int = RAW) -> bytes:
    """Binary CIDv1 that holds ``data`` itself."""
    return cid_v1(data, codec=codec, code=IDENTITY, digest=data)


def section(cid: bytes, data: bytes) -> bytes:
    return varint(len(cid) + len(data)) + cid + data


def cbor_head(major: int, argument: int) -> bytes:
    for info, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 24:
            return bytes([major << 5 | argument])
        if argument < 1 << 8 * width:
            return bytes([major << 5 | info]) + argument.to_bytes(width, "big")
    raise ValueError(argument)


def link(cid: bytes) -> bytes:
    """A CID as DAG-CBOR has it: tag 42, a byte string, a zero in front."""
    return b"\xd8\x2a" + cbor_head(2, len(cid) + 1) + b"\x00" + cid


def node(*links: bytes, extra: bytes = b"") -> tuple[bytes, bytes]:
    """A DAG-CBOR block, with its CID: a list of links, and of the items ``extra``, which is encoded."""
    data = cbor_head(4, len(links) + bool(extra)) + b"".join(map(link, links)) + extra
    return cid_v1(data, codec=DAG_CBOR), data


def header(roots: Sequence[bytes] = ()) -> bytes:
    """Canonical CARv1 header, its length in front."""
    body = b"\xa2\x65roots" + cbor_head(4, len(roots)) + b"".join(map(link, roots)) + b"\x67version\x01"
    return varint(len(body)) + body


def v1(roots: Sequence[bytes], blocks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A CARv1 of (CID, data) pairs."""
    return header(roots) + b"".join(section(cid, data) for cid, data in blocks)


def v2_header(
    data_offset: int, data_size: int, index_offset: int = 0, characteristics: bytes = bytes(16)
) -> bytes:
    """The 40 bytes behind the pragma."""
    return characteristics + struct.pack("<QQQ", data_offset, data_size, index_offset)


def v2(
    payload: bytes,
    index: bytes = b"",
    *,
    data_padding: int = 0,
    index_padding: int = 0,
    characteristics: bytes = bytes(16),
) -> bytes:
    """A CARv2 around a CARv1 payload; without ``index`` its index offset is 0."""
    end = 51 + data_padding + len(payload)
    fields = v2_header(51 + data_padding, len(payload), end + index_padding if index else 0, characteristics)
    return PRAGMA + fields + bytes(data_padding) + payload + bytes(index_padding) + index


class Record(NamedTuple):
    """What an index keeps of a section."""

    code: int
    digest: bytes
    offset: int


def bucket(records: Iterable[Record]) -> bytes:
    """Records of one digest size, sorted by digest and offset, with their head."""
    ordered = sorted(records, key=lambda record: (record.digest, record.offset))
    width = len(ordered[0].digest) + 8
    body = b"".join(record.digest + struct.pack("<Q", record.offset) for record in ordered)
    return struct.pack("<IQ", width, len(body)) + body


def index_body(records: Iterable[Record]) -> bytes:
    """Count and buckets: what follows the codec in format 0x0400."""
    by_size = sorted(records, key=lambda record: len(record.digest))
    buckets = [bucket(group) for _, group in groupby(by_size, key=lambda record: len(record.digest))]
    return struct.pack("<i", len(buckets)) + b"".join(buckets)


def index_sorted(records: Iterable[Record]) -> bytes:
    """Format 0x0400."""
    return b"\x80\x08" + index_body(records)


def index_multihash_sorted(records: Iterable[Record]) -> bytes:
    """Format 0x0401."""
    by_code = sorted(records, key=lambda record: record.code)
    groups = [(code, list(group)) for code, group in groupby(by_code, key=lambda record: record.code)]
    body = b"".join(struct.pack("<Q", code) + index_body(group) for code, group in groups)
    return b"\x81\x08" + struct.pack("<i", len(groups)) + body


def records_of(payload_header: bytes, blocks: Iterable[tuple[bytes, bytes]]) -> list[Record]:
    """Where the blocks of a payload are; their CIDs must be CIDv0 or have heads of one-byte varints."""
    records, offset = [], len(payload_header)
    for cid, data in blocks:
        head = 2 if cid[:2] == b"\x12\x20" else 4
        records.append(Record(cid[head - 2], cid[head:], offset))
        offset += len(section(cid, data))
    return records


FISH, LOBSTER, BARRELEYE = ((cid_v1(data), data) for data in (b"fish", b"lobster", b"barreleye"))
"""Blocks as pairs of CID and data: those of go-car's own tests."""

PB_NODE = (cid_v0(bytes.fromhex("0a020801")), bytes.fromhex("0a020801"))
"""An empty UnixFS directory, named by a CIDv0."""

SOME_BLOCKS = (FISH, PB_NODE, (identity(b"id"), b"id"), LOBSTER, (cid_v1(b""), b""), FISH)
"""One of each kind that readers have stumbled over: CIDv0, identity, no data, a duplicate."""

SMALL_V1 = v1([FISH[0], PB_NODE[0]], SOME_BLOCKS)

SMALL_RECORDS = records_of(header([FISH[0], PB_NODE[0]]), SOME_BLOCKS)

SMALL_V2 = v2(
    SMALL_V1,
    index_multihash_sorted(SMALL_RECORDS),
    data_padding=7,
    index_padding=5,
    characteristics=FULLY_INDEXED,
)


def section_bounds(payload_header: bytes, blocks: Iterable[tuple[bytes, bytes]]) -> list[tuple[int, int]]:
    """Payload offsets where each section starts and ends."""
    bounds, at = [], len(payload_header)
    for cid, data in blocks:
        size = len(section(cid, data))
        bounds.append((at, at + size))
        at += size
    return bounds


SMALL_BOUNDS = section_bounds(header([FISH[0], PB_NODE[0]]), SOME_BLOCKS)

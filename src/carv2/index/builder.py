"""An index that grows, packed: 40 bytes a block of the usual kind, and little more while it is written out.

Source: the CARv2 specification (https://ipld.io/specs/transport/car/carv2/); what it leaves open, and where it
is wrong, go-car v2.17.
"""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING, Protocol, TypeAlias

from carv2 import _varint
from carv2.cid import CID, parse_parts
from carv2.errors import LimitError
from carv2.index._bucket import BUCKET_HEAD, COUNT, MAX_BUCKETS, OFFSET_SIZE, too_many_buckets
from carv2.index._listed import is_listed
from carv2.index.multihash_sorted import CODE, MultihashSortedIndex
from carv2.index.protocol import CAR_INDEX_SORTED, CAR_MULTIHASH_INDEX_SORTED, Index
from carv2.index.sorted import SortedIndex
from carv2.multicodec import name_of
from carv2.multihash import IDENTITY, decode
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Bins: TypeAlias = list[bytearray]
    """Records of one kind, spread over 256 bins by the digest's first byte; all in one while they are few."""

__all__ = ["IndexBuilder"]


class Columns(Protocol):
    """Neighbouring sections as :meth:`IndexBuilder.add_columns` takes them."""

    cids: list[bytes]
    stops: list[int]
    """Where each ends."""
    prefix: bytes | None
    """All of each CID but its last 32 bytes, where that is the same for all."""

    def __iter__(self) -> Iterator[tuple[bytes, int, int]]: ...


_FEW = 1 << 17  # bytes of records that are sorted in one piece: the bins have a price of their own

_MANY = 1 << 12  # records of a bin from which on it is shared out once more before it is sorted
_TOO_MANY = 1 << 15  # of which no more than a part are made objects at a time: together they leave the caches
_WORTH_BINS = 256  # records from which on 256 bins take less memory than what is in them

_pack_offset = struct.Struct(">Q").pack  # big-endian until written, so that equal digests sort by offset


class IndexBuilder:
    """Collects where blocks are and writes the index of them, as go-car would.

    Records sort by digest, those of equal digests by offset; all duplicates are kept. (go-car's order of
    duplicates is the same in the files that its stores write, and arbitrary in those that it generates from
    more than twelve records.)

    Args:
        codec: 0x0401 or 0x0400.
        identity: list identity CIDs too; go-car leaves them out unless told otherwise. Those that records of a
            ref-CARv2 go by are always listed: without an index nobody would find them.
        limits: ``limits.cid`` bounds the CIDs that are listed.

    What is listed may be of at most 65,536 kinds, by hash function and size of digest: an index of more is refused
    when it is read. One kind too many raises :class:`carv2.errors.IndexFormatError`.

    Raises:
        ValueError: another codec.

    >>> builder = IndexBuilder()
    >>> builder.add(CID.of_data(b"fish"), 18)
    >>> [entry.offset for entry in builder.to_index()]
    [18]
    """

    def __init__(
        self,
        codec: int = CAR_MULTIHASH_INDEX_SORTED,
        *,
        identity: bool = False,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        if codec not in {CAR_INDEX_SORTED, CAR_MULTIHASH_INDEX_SORTED}:
            raise ValueError(f"index codec {name_of(codec)}, supported: {name_of(0x400)}, {name_of(0x401)}")
        self.codec, self._identity, self._limits = codec, identity, limits
        self.left_out_count = 0
        """Blocks with identity CIDs that the index does not list."""
        self._groups: dict[tuple[int, int], Bins] = {}  # by hash code (0 in format 0x0400) and digest size
        self._codes: set[int] = set()
        self._by_prefix: dict[bytes | None, Bins] = {}  # by all of a CID but its 32-byte digest; none by None
        self._by_multihash: dict[bytes, Bins] = {}  # by all of a multihash but its 32-byte digest

    def __len__(self) -> int:
        return sum(sum(map(len, bins)) // (size + OFFSET_SIZE) for (_, size), bins in self._groups.items())

    def add(self, cid: bytes | CID, offset: int, *, position: int = 0) -> None:
        """List the block ``cid`` at payload offset ``offset``.

        Raises:
            LimitError: the CID is larger than ``limits.cid``; ``position`` says where the file has it.
            IndexFormatError: it is of one kind too many.
        """
        raw = bytes(cid)
        parts = parse_parts(raw, 0, len(raw), position=position)
        digest = raw[parts.size - parts.digest_size :]
        if not is_listed(parts.hash_code, digest, identity=self._identity):
            self.left_out_count += 1
            return
        if len(raw) > self._limits.cid:
            raise LimitError("cid", found=len(raw), allowed=self._limits.cid, position=position)
        bins = self._put(parts.hash_code, digest, offset, position)
        if len(bins) > 1 and len(digest) == 32 and (self._identity or parts.hash_code != IDENTITY):
            self._by_prefix[raw[:-32]] = bins

    def add_record(self, hash_code: int, digest: bytes, offset: int) -> None:
        """List a record as it is, whatever its hash."""
        self._put(hash_code, digest, offset, 0)

    def _put(self, hash_code: int, digest: bytes, offset: int, position: int) -> Bins:
        """Put a record where it belongs; return the records of its kind."""
        bins = self._bins(hash_code, len(digest), position)
        bins[digest[0] if len(bins) > 1 else 0] += digest + _pack_offset(offset)
        return bins

    def _bins(self, hash_code: int, digest_size: int, position: int = 0) -> Bins:
        """The records of a kind, for one more."""
        key = (hash_code if self.codec == CAR_MULTIHASH_INDEX_SORTED else 0, digest_size)
        bins = self._groups.get(key)
        if bins is None:
            self._codes.add(key[0])
            if len(self._groups) + len(self._codes) >= MAX_BUCKETS:
                raise too_many_buckets(position, self.codec)
            bins = self._groups[key] = [bytearray()]
        elif len(bins) == 1 and digest_size and len(bins[0]) >= _WORTH_BINS * (digest_size + OFFSET_SIZE):
            bins[:] = _spread(bins[0], digest_size)
        return bins

    def add_sections(
        self, entries: Iterable[tuple[bytes, int, int]], offset: int, shift: int, *, payload: int = 0
    ) -> None:
        """List neighbouring sections: the first at payload offset ``offset``, each next one behind the last.

        An entry is a binary CID, something that does not matter here, and the section's end; ``shift`` makes
        a payload offset of the latter. ``payload`` is the file position of the payload, for error reports.
        """
        by_prefix = self._by_prefix
        for cid, _, stop in entries:
            bins = by_prefix.get(cid[:-32])
            if bins is None:
                self.add(cid, offset, position=payload + offset)
            else:
                digest = cid[-32:]
                bins[digest[0]] += digest + _pack_offset(offset)
            offset = stop + shift

    def add_columns(self, found: Columns, offset: int, shift: int, *, payload: int = 0) -> None:
        """The same for sections that come column by column, and quicker where their CIDs are of one kind."""
        bins = self._by_prefix.get(found.prefix)
        if bins is None:
            self.add_sections(found, offset, shift, payload=payload)
            return
        pack = _pack_offset
        for cid, stop in zip(found.cids, found.stops, strict=True):
            digest = cid[-32:]
            bins[digest[0]] += digest + pack(offset)
            offset = stop + shift

    def add_multihashes(self, pairs: Iterable[tuple[bytes, int]]) -> None:
        """List blocks by (multihash, payload offset); ``limits`` do not matter here."""
        by_prefix, pack = self._by_multihash, _pack_offset
        for multihash, offset in pairs:
            bins = by_prefix.get(multihash[:-32])
            if bins is None:
                self._add_multihash(multihash, offset)
                continue
            digest = multihash[-32:]
            bins[digest[0]] += digest + pack(offset)

    def add_packed(self, hash_code: int, digest_size: int, records: Iterable[tuple[bytes]]) -> None:
        """List records as they are: each a digest of ``digest_size`` bytes and a payload offset, big-endian."""
        bins, left = self._bins(hash_code, digest_size), iter(records)
        if len(bins) == 1:
            bins[0] += b"".join(record for (record,) in itertools.islice(left, _WORTH_BINS))
            bins = self._bins(hash_code, digest_size)
        if not digest_size:
            bins[0] += b"".join(record for (record,) in left)
        for (record,) in left:  # there are none where one bin is enough
            bins[record[0]] += record

    def _add_multihash(self, multihash: bytes, offset: int) -> None:
        code, digest = decode(multihash)
        if not is_listed(code, digest, identity=self._identity):
            self.left_out_count += 1
            return
        bins = self._put(code, digest, offset, 0)
        if len(bins) > 1 and len(digest) == 32 and (self._identity or code != IDENTITY):
            self._by_multihash[multihash[:-32]] = bins

    def shift(self, distance: int) -> None:
        """Move every offset by ``distance``: what stands before the sections has another size now."""
        for (_, size), bins in self._groups.items():
            record = struct.Struct(f">{size}sQ")
            for at, records in enumerate(bins):
                moved = (record.pack(digest, offset + distance) for digest, offset in record.iter_unpack(records))
                bins[at] = bytearray().join(moved)

    def to_index(self) -> Index:
        """The index itself, in memory; the builder is empty afterwards."""
        buffer = self.to_bytes()
        kind = SortedIndex if self.codec == CAR_INDEX_SORTED else MultihashSortedIndex
        return kind.parse(buffer, len(_varint.encode(self.codec)), position=0)

    def to_bytes(self) -> bytes:
        """The bytes of the index, in one piece; the builder is empty afterwards."""
        return b"".join(self.chunks())

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the index, its codec included, in pieces; the builder is empty afterwards."""
        groups, self._groups = self._groups, {}
        self._codes, self._by_prefix, self._by_multihash = set(), {}, {}
        yield _varint.encode(self.codec)
        sizes: dict[int, list[int]] = {}
        for code, size in sorted(groups):
            sizes.setdefault(code, []).append(size)
        if self.codec == CAR_MULTIHASH_INDEX_SORTED:
            yield COUNT.pack(len(sizes))
        elif not sizes:
            yield COUNT.pack(0)
        for code, found in sizes.items():
            if self.codec == CAR_MULTIHASH_INDEX_SORTED:
                yield CODE.pack(code)
            yield COUNT.pack(len(found))
            for size in found:
                yield BUCKET_HEAD.pack(size + OFFSET_SIZE, sum(map(len, groups[code, size])))
                yield from _sorted_records(groups.pop((code, size)), size)


def _spread(records: bytearray, digest_size: int) -> Bins:
    """The records by the first bytes of their digests."""
    bins: Bins = [bytearray() for _ in range(256)]
    for (record,) in struct.iter_unpack(f"{digest_size + OFFSET_SIZE}s", records):
        bins[record[0]] += record
    return bins


def _sorted_records(bins: Bins, digest_size: int) -> Iterator[bytes]:
    """The records of each bin in order, the bin freed before the next is sorted; few records all at once."""
    width = digest_size + OFFSET_SIZE
    if sum(map(len, bins)) <= _FEW:
        bins = [bytearray().join(bins)]
    for at in range(len(bins)):
        records, bins[at] = bins[at], bytearray()
        is_long = len(records) >= _MANY * width and len(bins) > 1 and digest_size > 1
        for found in _in_parts(records, width) if is_long else [_in_order(records, width)]:
            yield _to_little_endian(found, digest_size)


def _in_order(records: bytearray, width: int) -> bytes:
    return b"".join(sorted(record for (record,) in struct.iter_unpack(f"{width}s", records)))


def _in_parts(records: bytearray, width: int) -> Iterator[bytes]:
    """The same for many that begin with the same byte, in 256 parts by the next one: each fits into the caches."""
    found: Iterator[tuple[bytes]] = struct.iter_unpack(f"{width}s", records)
    if len(records) < _TOO_MANY * width:
        lists: list[list[bytes]] = [[] for _ in range(256)]
        for (record,) in found:
            lists[record[1]].append(record)
        for part in lists:
            part.sort()
        yield b"".join(itertools.chain.from_iterable(lists))
        return
    parts = [bytearray() for _ in range(256)]
    for (record,) in found:
        parts[record[1]] += record
    for at in range(0, len(parts), 16):
        yield b"".join([_in_order(part, width) for part in parts[at : at + 16]])


def _to_little_endian(records: bytes, digest_size: int) -> bytes:
    """The same records with the bytes of each offset reversed: eight strided copies, not one for each record."""
    width = digest_size + OFFSET_SIZE
    out = bytearray(records)
    for at in range(OFFSET_SIZE):
        out[digest_size + at :: width] = records[width - 1 - at :: width]
    return bytes(out)

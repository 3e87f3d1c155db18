"""What every index can do, whatever its format.

Source: the CARv2 specification (https://ipld.io/specs/transport/car/carv2/).
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, NamedTuple

from carv2.cid import CID
from carv2.multihash import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2.cid import CIDLike
    from carv2.index._bucket import Bucket
    from carv2.units import PayloadOffset

CAR_INDEX_SORTED = 0x0400
CAR_MULTIHASH_INDEX_SORTED = 0x0401


_MAX_PREFIXES = 256


class IndexEntry(NamedTuple):
    """One record of an index."""

    hash_code: int | None
    """None in an index of format 0x0400, which does not keep it."""
    digest: bytes
    offset: PayloadOffset
    """Of the section's length varint, from the start of the payload, in bytes."""


class Index(abc.ABC):
    """A multimap from a block's hash to payload offsets.

    Only the digest (and in format 0x0401 the hash function) of a CID is in it, not its version or codec.
    Everything that an index of a file says is a claim, the order of its records included.
    """

    codec: int
    is_headless = False
    """The file had it without a codec in front, as the CARv2 specification's example does."""
    size: int
    """Bytes that it takes in the file, its codec included."""

    def __init__(self) -> None:
        self.usual: dict[bytes, Bucket] = {}
        """The records for kinds of CIDs that were asked for before, by all of a CID but its 32-byte digest."""

    @abc.abstractmethod
    def buckets(self) -> Iterator[tuple[int | None, Bucket]]:
        """Hash code (None where not kept) and records, in the order of the format: ascending numbers."""

    @abc.abstractmethod
    def _bucket_for(self, cid: CID) -> Bucket | None: ...

    def offsets_of(self, cid: CIDLike) -> Iterator[PayloadOffset]:
        """Where blocks with the hash of ``cid`` are, in the order stored; nothing if the index has none.

        Format 0x0400 does not know hash functions: it may name blocks with an equal digest of another one.
        """
        wanted = cid if isinstance(cid, CID) else CID.of(cid)
        raw = wanted.raw
        bucket = self.usual.get(raw[:-32])
        if bucket is not None:
            return bucket.offsets_of(raw[-32:])
        bucket = self._bucket_for(wanted)
        if bucket is None:
            return iter(())
        is_usual = bucket.digest_size == 32 and wanted.hash_code != IDENTITY
        if is_usual and len(self.usual) < _MAX_PREFIXES:
            self.usual[raw[:-32]] = bucket
        return bucket.offsets_of(wanted.digest)

    def keep_samples(self, most: int) -> None:
        """Keep the first eight bytes of at most ``most`` digests of each bucket in memory for look-ups."""
        for _, bucket in self.buckets():
            bucket.keep_samples(most)

    def usual_offset(self, raw: bytes) -> int | None:
        """What :meth:`offsets_of` gives first for a binary CID, if that is quick to tell; None if it is not."""
        bucket = self.usual.get(raw[:-32])
        return None if bucket is None else bucket.usual_offset(raw[-32:])

    def usual_offsets(self, raws: list[bytes]) -> list[int | None]:
        """The same for each of many binary CIDs, quicker than one by one where they are of one kind."""
        prefixes = {raw[:-32] for raw in raws}
        bucket = self.usual.get(prefixes.pop()) if len(prefixes) == 1 else None
        if bucket is None:
            return [self.usual_offset(raw) for raw in raws]
        return bucket.usual_offsets([raw[-32:] for raw in raws])

    def __contains__(self, cid: object) -> bool:
        if not isinstance(cid, (CID, str, bytes)):
            return False
        return next(self.offsets_of(cid), None) is not None

    def __len__(self) -> int:
        return sum(len(bucket) for _, bucket in self.buckets())

    def __iter__(self) -> Iterator[IndexEntry]:
        for code, bucket in self.buckets():
            for digest, offset in bucket:
                yield IndexEntry(code, digest, offset)

    @abc.abstractmethod
    def chunks(self) -> Iterator[bytes]:
        """The bytes of the index as go-car writes it, its codec included, in pieces."""

    def to_bytes(self) -> bytes:
        """The same in one piece."""
        return b"".join(self.chunks())

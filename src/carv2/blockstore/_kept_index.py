"""The index of a finished archive, held against its sections: where it says just what they are, it is kept.

Both are streams of the same records, a digest and an offset, in different orders. What is compared is the sum
of their hashes, so that nothing of either has to be held. Python's hash of bytes is SipHash, with a key of
this process that no file can know.
"""

from __future__ import annotations

import functools
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from carv2._source import SliceView
from carv2.blockstore._recovery import examine
from carv2.cid import CID
from carv2.errors import FormatError
from carv2.header import PRAGMA, SIZE, CarV2Header
from carv2.index import CAR_MULTIHASH_INDEX_SORTED
from carv2.index import parse as parse_index
from carv2.multihash import IDENTITY

if TYPE_CHECKING:
    from carv2._scan import Batch
    from carv2._storefile import WritableSource
    from carv2.blockstore._recovery import Recovery
    from carv2.blockstore._settings import Settings
    from carv2.blockstore._written import Written
    from carv2.index import Index
    from carv2.index._bucket import Bucket

    _Kind: TypeAlias = "tuple[int, int]"  # hash code and digest size: what a bucket of an index has in common
    _Sums: TypeAlias = "dict[_Kind, tuple[int, int]]"  # how many records, and the sum of their hashes


def take_over(file: WritableSource, settings: Settings, written: Written, **how: bool) -> Recovery:
    """Tell ``written`` what is in ``file``: from its index if that is right, otherwise from its sections.

    The file is not changed. ``how`` is for :func:`carv2.blockstore._recovery.examine`, as are the errors.
    """
    kept = KeptIndex.of(file)
    if kept is not None:
        found = examine(file, settings.limits, on_batch=kept.add_sections, **how)
        if kept.is_right(identity=settings.store_identity):
            written.adopt(kept.index, kept.section_count)
            return replace(found, index_kept=True)
    return examine(file, settings.limits, on_batch=written.add_sections, **how)


class KeptIndex:
    """The index that an archive ends with, and a pass over the archive that proves it right or not."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.section_count = 0
        self._sums: _Sums = {}
        self._kinds: dict[bytes, _Kind] = {}  # by all of a CID but its last 32 bytes

    @classmethod
    def of(cls, file: WritableSource) -> KeptIndex | None:
        """That of the CARv2 in ``file``; None if there is none, or not one of format 0x0401."""
        if file.read_at(0, len(PRAGMA)) != PRAGMA:
            return None
        try:
            header = CarV2Header.from_bytes(file.read_at(len(PRAGMA), SIZE))
            if not header.has_index or header.index_offset < header.data_end:
                return None
            index = parse_index(SliceView(file, header.index_offset, file.size))
        except FormatError:
            return None
        return cls(index) if index.codec == CAR_MULTIHASH_INDEX_SORTED and not index.is_headless else None

    def add_sections(self, batch: Batch, payload: int) -> None:
        """Take in sections, the payload of which starts at file position ``payload``."""
        first = batch.base - payload
        starts = [first + batch.start, *[first + stop for _, _, stop in batch.entries[:-1]]]
        self.section_count += len(starts)
        cids = [cid for cid, _, _ in batch.entries]
        heads = {cid[:-32] for cid in cids}
        kind = self._kind_of(cids[0]) if len(heads) == 1 else None
        if kind is not None and kind[1] == 32:
            self._add(kind, [cid[-32:] for cid in cids], starts)
            return
        for cid, start in zip(cids, starts, strict=True):
            kind = self._kind_of(cid)
            self._add(kind, [cid[len(cid) - kind[1] :]], [start])

    def _kind_of(self, raw: bytes) -> _Kind:
        kind = self._kinds.get(raw[:-32])
        if kind is None:
            parts = CID.trusted(raw).parts
            kind = parts.hash_code, parts.digest_size
            if parts.digest_size == 32:
                self._kinds[raw[:-32]] = kind
        return kind

    def _add(self, kind: _Kind, digests: list[bytes], starts: list[int]) -> None:
        count, total = self._sums.get(kind, (0, 0))
        records = map(_record(kind[1]).pack, digests, starts)
        self._sums[kind] = count + len(digests), total + sum(map(hash, records))

    def is_right(self, *, identity: bool) -> bool:
        """Whether the index lists each section that was added where it is, and nothing more, in order.

        It may leave identity CIDs out, all of them, unless ``identity`` says that it must not.
        """
        listed: _Sums = {}
        for code, bucket in self.index.buckets():
            sums = _sums_of(bucket)
            if sums is None:
                return False
            if sums[0]:
                listed[code or 0, bucket.digest_size] = sums
        expected = self._sums
        if not identity and not any(code == IDENTITY for code, _ in listed):
            expected = {kind: sums for kind, sums in expected.items() if kind[0] != IDENTITY}
        return listed == expected


@functools.lru_cache(maxsize=16)
def _record(digest_size: int) -> struct.Struct:
    return struct.Struct(f"<{digest_size}sQ")


def _sums_of(bucket: Bucket) -> tuple[int, int] | None:
    """Count and sum of the records; None if they are not sorted."""
    if bucket.stray:
        return None
    size = bucket.digest_size
    width = _record(size).size
    total, last = 0, b""
    for window in bucket.windows():
        records = [window[at : at + width] for at in range(0, len(window), width)]
        digests = [last, *[record[:size] for record in records]]
        if digests != sorted(digests):
            return None
        last = digests[-1]
        total += sum(map(hash, records))
    return len(bucket), total

"""The index of a finished archive, held against its sections: where it says just what they are, it is kept.

Both are streams of the same records, a digest and an offset, in different orders. What is compared is the sum
of their hashes, so that nothing of either has to be held. Python's hash of bytes is SipHash; with a secret in
front of each record no file can be made to fit.
"""

from __future__ import annotations

import functools
import os
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from carv2._source import SliceView
from carv2.blockstore._recovery import examine
from carv2.blockstore._settings import header_in
from carv2.blockstore._written import MAX_KINDS
from carv2.cid import CID
from carv2.errors import FormatError
from carv2.index import CAR_MULTIHASH_INDEX_SORTED
from carv2.index import parse as parse_index
from carv2.index._listed import is_listed
from carv2.multihash import IDENTITY

if TYPE_CHECKING:
    from carv2._scan import Batch
    from carv2._source import Source
    from carv2._storefile import WritableSource
    from carv2.blockstore._recovery import Recovery
    from carv2.blockstore._settings import Settings
    from carv2.blockstore._written import Written
    from carv2.header import CarV2Header
    from carv2.index import Index
    from carv2.index._bucket import Bucket
    from carv2.units import Limits

    _Kind: TypeAlias = "tuple[int, int]"  # hash code and digest size: what a bucket of an index has in common
    _Sums: TypeAlias = "dict[_Kind, tuple[int, int]]"  # how many records, and the sum of their hashes


def take_over(file: WritableSource, settings: Settings, written: Written, **how: Any) -> Recovery:
    """Tell ``written`` what is in ``file``: from its index if that is right, otherwise from its sections.

    The file is not changed. ``how`` is for :func:`carv2.blockstore._recovery.examine`, as are the errors.
    """
    kept = KeptIndex.of(file)
    if kept is not None and kept.index.codec in {CAR_MULTIHASH_INDEX_SORTED, settings.index_codec}:
        found = kept.examine(file, settings.limits, identity=settings.store_identity, **how)
        if found.index_kept:
            written.adopt(kept.index, kept.section_count)
            return found
    return examine(file, settings.limits, on_batch=written.add_sections, **how)


def is_as_wanted(header: CarV2Header | None, settings: Settings, written: Written, file_size: int) -> bool:
    """Whether the finished archive with ``header`` is just what finishing it by ``settings`` would make."""
    return (
        header is not None
        and header.index_offset == header.data_end + settings.index_padding
        and header.is_fully_indexed == settings.store_identity
        and written.kept_codec == settings.index_codec
        and header.index_offset + written.kept_size == file_size
    )


_SECRET = os.urandom(16)
_KEY = -1  # instead of a hash code: identity CIDs that are listed in any case


class KeptIndex:
    """The index that an archive ends with, and a pass over the archive that proves it right or not."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.section_count = 0
        self._sums: _Sums = {}
        self._kinds: dict[bytes, _Kind] = {}  # by all of a CID but its last 32 bytes

    @classmethod
    def of(cls, file: Source) -> KeptIndex | None:
        """That of the CARv2 in ``file``; None if there is none, or none that go-car would write."""
        header = header_in(file)
        if header is None or not header.has_index or header.index_offset < header.data_end:
            return None
        try:
            index = parse_index(SliceView(file, header.index_offset, file.size))
        except FormatError:
            return None
        return None if index.is_headless else cls(index)

    def examine(self, file: Source, limits: Limits, *, identity: bool, **how: Any) -> Recovery:
        """Look the file over, and say in ``index_kept`` whether the index is right."""
        found = examine(file, limits, on_batch=self.add_sections, **how)
        return replace(found, index_kept=self.is_right(identity=identity))

    def add_sections(self, batch: Batch, payload: int) -> None:
        """Take in sections, the payload of which starts at file position ``payload``."""
        first = batch.base - payload
        starts = [first + batch.start, *[first + stop for _, _, stop in batch.entries[:-1]]]
        self.section_count += len(starts)
        cids = [cid for cid, _, _ in batch.entries]
        heads = {cid[:-32] for cid in cids}
        kind = self._kind_of(cids[0]) if len(heads) == 1 else None
        if kind is not None and kind[1] == 32 and kind[0] > IDENTITY:
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
            if parts.hash_code == IDENTITY:
                is_key = is_listed(IDENTITY, raw[len(raw) - parts.digest_size :], identity=False)
                return (_KEY, parts.digest_size) if is_key else kind
            if parts.digest_size == 32 and len(self._kinds) < MAX_KINDS:
                self._kinds[raw[:-32]] = kind
        return kind

    def _add(self, kind: _Kind, digests: list[bytes], starts: list[int]) -> None:
        count, total = self._sums.get(kind, (0, 0))
        pack = _record(kind[1]).pack
        records = [_SECRET + pack(digest, start) for digest, start in zip(digests, starts, strict=True)]
        self._sums[kind] = count + len(digests), total + sum(map(hash, records))

    def is_right(self, *, identity: bool) -> bool:
        """Whether the index lists each section that was added where it is, and nothing more, in order.

        It may leave identity CIDs out, all of them, unless ``identity`` says that it must not. Those that records
        of references go by it must list.
        """
        listed: _Sums = {}
        for code, bucket in self.index.buckets():
            sums = _sums_of(bucket)
            if sums is None:
                return False
            listed[code or 0, bucket.digest_size] = sums
        return listed == self._expected(identity=True) or (
            not identity and listed == self._expected(identity=False)
        )

    def _expected(self, *, identity: bool) -> _Sums:
        """What the index should say, with or without identity CIDs; format 0x0400 does not keep hash codes."""
        keeps_codes = self.index.codec == CAR_MULTIHASH_INDEX_SORTED
        expected: _Sums = {}
        for (code, size), (count, total) in self._sums.items():
            if code != IDENTITY or identity:
                kind = (max(code, IDENTITY) if keeps_codes else 0), size
                before, sum_before = expected.get(kind, (0, 0))
                expected[kind] = before + count, sum_before + total
        return expected


@functools.lru_cache(maxsize=16)
def _record(digest_size: int) -> struct.Struct:
    return struct.Struct(f"<{digest_size}sQ")


def _sums_of(bucket: Bucket) -> tuple[int, int] | None:
    """Count and sum of the records; None if they are not sorted, or not there."""
    if bucket.stray or not len(bucket):
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
        total += sum([hash(_SECRET + record) for record in records])
    return len(bucket), total

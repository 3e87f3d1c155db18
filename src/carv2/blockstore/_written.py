"""What a writer knows of what it has written: where each block is, in little memory.

Blocks are told apart by a key, their multihash or their whole CID. Recent keys are in a dict, some 150 bytes each.
When they are many, they are packed into tables, 50 to 75 bytes each; with a bound on memory they are sorted
instead, and moved to files that are CARv2 indexes, to be looked up in place.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from carv2._scan import SectionScanner, batches
from carv2._source import FileSource, SliceView
from carv2.blockstore._filter import KeyFilter
from carv2.blockstore._key_table import OFFSET_SIZE, KeyTable, heads_are, without_heads
from carv2.cid import CID
from carv2.index import CAR_MULTIHASH_INDEX_SORTED, IndexBuilder
from carv2.index import parse as parse_index
from carv2.index.merge import merged_chunks
from carv2.multihash import encode as encode_multihash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from carv2._scan import Batch, Entries
    from carv2._source import Source
    from carv2.blockstore._key_table import Hints
    from carv2.index import Index
    from carv2.units import Limits

BYTES_PER_KEY = 160
"""Measured: a key of 34 bytes, an offset, and their place in the dict."""

PACK_FROM = 4096
"""Keys in the dict from which on they are packed: few enough to be found in the processor's caches."""

MAX_KINDS = 4096
"""Layouts of CIDs that are remembered."""

_FAN_IN = 8
"""Runs of a size that are merged to one: a look-up goes through a few runs, not through one for each dict."""

_RUNS = 24
"""More runs than there are at a time below 8**3 full dicts."""

_SAMPLE = 8
"""Bytes of a digest that the look-up in a run keeps in memory."""

_FILTER_BYTES = 2
"""For each block of an index that is gone on with: one in 60 new blocks is looked up in vain."""

_NONE_OLDER: Hints = (b"\0", 0)
_MAYBE_OLDER: Hints = (b"\1", 0)

_NEVER_MERGED = 64
"""The level of an index that was there before."""


class Written:
    """Payload offsets by key."""

    cid_at: Callable[[int], bytes]
    """Reads the CID of a section back, where an index alone cannot tell keys apart; set by the store."""

    def __init__(self, *, whole_cids: bool, max_memory: int | None = None) -> None:
        self._whole_cids = whole_cids
        self.recent: dict[bytes, int] = {}
        """Keys that came lately, and where they came first; those that are packed may come again."""
        self.tables: dict[int, KeyTable] = {}
        """Keys that were packed, by their size; empty with a bound on memory."""
        self.hints: Hints = _NONE_OLDER
        """What the sequence has at ``hash(key) & mask`` is 0 only if ``key`` is not among the older ones."""
        self._repeats: list[tuple[bytes, int]] = []  # of keys that are in memory too
        self._is_packing = self._may_overlap = False
        self.is_bounded = max_memory is not None
        """Call :meth:`make_room` before :meth:`add`; otherwise, when there are as many as :data:`PACK_FROM`."""
        self._capacity = max(1, (max_memory or 0) // BYTES_PER_KEY // 2)
        self._samples = max(64, (max_memory or 0) // 8 // _RUNS // _SAMPLE) if self.is_bounded else None
        self.runs: list[_Run] = []
        """The keys that are not; empty without a bound on memory, up to the end."""
        self._filter = KeyFilter(max_memory // 8) if max_memory is not None else None
        """Of the keys in runs, if it knows all of them."""
        self._key_starts: dict[bytes, int] = {}  # by all of a CID but its last 32 bytes
        self._in_runs = 0  # sections
        self.kept_codec = self.kept_size = 0
        """Of the index that is gone on from."""
        self.is_whole = True
        """False after a failure that lost some keys: forget them all, and add them again."""

    @property
    def count(self) -> int:
        """Sections."""
        return self._in_runs + self._held

    @property
    def _held(self) -> int:
        held = len(self.recent) + len(self._repeats) + sum(map(len, self.tables.values()))
        if self._may_overlap:
            held -= sum(self._packed(key) == offset for key, offset in list(self.recent.items()))
        return held

    def key_of(self, raw: bytes) -> bytes:
        """The key of a binary CID."""
        if self._whole_cids:
            return raw
        start = self._key_starts.get(raw[:-32])
        if start is None:
            cid = CID.trusted(raw)
            start = len(raw) - len(cid.multihash)
            if cid.parts.digest_size == 32 and len(self._key_starts) < MAX_KINDS:
                self._key_starts[raw[:-32]] = start
        return raw[start:] if start else raw

    def find(self, key: bytes) -> int | None:
        """Where the first block with ``key`` is."""
        offset = self.recent.get(key)
        return self.find_older(key) if offset is None else offset

    def find_older(self, key: bytes) -> int | None:
        """The same for a key that is not among the recent ones."""
        if (table := self.tables.get(len(key))) is not None and (offset := table.find(key)) is not None:
            return offset
        if not self.runs:
            return None
        if self._filter is not None and not self._filter.may_have(key):
            return None
        for run in self.runs:
            for candidate in run.offsets_of(self._cid_of(key)):
                if self._is_sure(run) or self.key_of(self.cid_at(candidate)) == key:
                    return candidate
        return None

    def _is_sure(self, run: _Run) -> bool:
        """Whether what the index of a run says is all that a key is."""
        return not self._whole_cids and run.index.codec == CAR_MULTIHASH_INDEX_SORTED

    def _cid_of(self, key: bytes) -> CID:
        return CID.trusted(key) if self._whole_cids or key[:2] == b"\x12\x20" else CID.trusted(b"\x01\x55" + key)

    def add(self, key: bytes, offset: int) -> None:
        """Note a block; of a key that is there already, one more."""
        if self.recent.setdefault(key, offset) != offset:
            self._repeats.append((key, offset))

    def make_room(self) -> None:
        """Move what is in memory to a file if it is as much as allowed; nothing is lost where that fails.

        Without a bound, pack it if it is much.
        """
        if not self.is_bounded:
            if len(self.recent) >= PACK_FROM:
                self._pack()
        elif self._held >= self._capacity:
            self._spill()

    def _set_hints(self) -> None:
        if self.runs or len(self.tables) > 1:
            self.hints = _MAYBE_OLDER
        else:
            self.hints = next((table.hints for table in self.tables.values()), _NONE_OLDER)

    def _packed(self, key: bytes) -> int | None:
        table = self.tables.get(len(key))
        return None if table is None else table.find(key)

    def _pack(self) -> None:
        """Move recent keys to tables; they are in both meanwhile, so that they are found at any time.

        A signal's handler may use the store between any two steps, or raise: then some stay in both.
        """
        if self._is_packing:
            return
        self._is_packing = self._may_overlap = True
        try:
            tables, recent = self.tables, self.recent.copy()
            repeats = list[tuple[bytes, int]]()
            for size, offsets in _by_key_size(recent):
                if size not in tables:
                    tables[size] = KeyTable(size)
                repeats += tables[size].add(offsets)
            self._set_hints()
            if self.tables is tables and len(self.recent) == len(recent):  # else a handler put or learnt some
                was_whole, self.is_whole = self.is_whole, self.is_whole and not repeats
                self._repeats += repeats
                self.recent.clear()
                self._may_overlap, self.is_whole = False, was_whole
        finally:
            self._is_packing = False

    def add_sections(self, batch: Batch, payload: int) -> None:
        """Note sections that are in the file already, the payload of which starts at position ``payload``."""
        entries, shift = batch.entries, batch.base - payload
        start = self._key_start(entries)
        offsets = [shift + batch.start, *[shift + stop for stop in entries.stops]]
        if start is None or (self.is_bounded and self._held + len(entries) > self._capacity):
            for cid, offset in zip(entries.cids, offsets, strict=False):
                if self.is_bounded:
                    self.make_room()
                self.add(self.key_of(cid), offset)
            return
        repeats, note = self._repeats, self.recent.setdefault
        for cid, offset in zip(entries.cids, offsets, strict=False):
            key = cid[start:]  # the same object if it is all of it
            if note(key, offset) != offset:
                repeats.append((key, offset))
        if len(self.recent) >= PACK_FROM:
            self.make_room()

    def _key_start(self, entries: Entries) -> int | None:
        """Where the key of each CID starts, if that is the same for all."""
        if self._whole_cids:
            return 0
        if entries.prefix is None:
            return None
        self.key_of(entries.cids[0])  # which notes it
        return self._key_starts.get(entries.prefix)

    def adopt(self, index: Index, count: int) -> None:
        """Go on from an index that lists all ``count`` sections of the file; it is copied, not loaded."""
        self.kept_codec, self.kept_size = index.codec, index.size
        if self._filter is None:
            self._filter = KeyFilter(_FILTER_BYTES * count)
        for code, bucket in index.buckets():
            digests = (digest for digest, _ in bucket)
            if bucket.digest_size >= KeyFilter.TAIL:
                self._filter.add(digests)
            elif code is not None and not self._whole_cids:
                self._filter.add(encode_multihash(code, digest) for digest in digests)
            elif len(bucket):  # the filter would want what no index keeps
                self._filter = None
                break
        self.runs.append(_Run(index.chunks(), level=_NEVER_MERGED, samples=self._samples))
        self._set_hints()
        self._in_runs += count

    def _spill(self) -> None:
        if self._filter is not None:
            self._filter.add(self.recent)
        builder = IndexBuilder(identity=True)
        builder.add_multihashes(self._multihashes(self.recent.items()))
        builder.add_multihashes(self._multihashes(self._repeats))
        run = _Run(builder.chunks(), level=0, samples=self._samples)
        self.is_whole = False  # an exception from outside, as of Ctrl-C, may come between any two steps
        self.runs.append(run)
        self._set_hints()
        self._in_runs += len(self.recent) + len(self._repeats)
        self.recent.clear()  # the dict stays the same, the store has hold of it
        self._repeats.clear()
        self.is_whole = True
        for level in range(64):
            same = [run for run in self.runs if run.level == level]
            if len(same) < _FAN_IN:
                return
            self._merge(same, level + 1)

    def _merge(self, runs: list[_Run], level: int) -> None:
        chunks = merged_chunks([run.index for run in runs], CAR_MULTIHASH_INDEX_SORTED)
        merged = _Run(chunks, level=level, samples=self._samples)
        self.runs = [*(run for run in self.runs if run not in runs), merged]  # one step
        for run in runs:
            run.close()

    def _drain(self, builder: IndexBuilder) -> None:
        """Move what is in memory to ``builder``, piece by piece, so that it is never held twice."""
        recent = list(self.recent.items())
        if self._may_overlap:
            recent = [(key, offset) for key, offset in recent if self._packed(key) != offset]
        builder.add_multihashes(self._multihashes(recent))
        builder.add_multihashes(self._multihashes(self._repeats))
        tables, self.tables = self.tables, {}
        self.recent.clear()
        self._repeats.clear()
        for table in tables.values():
            width = table.key_size + OFFSET_SIZE
            for records in table.drained():
                key = records[: table.key_size]
                parts = self._cid_of(key).parts
                head = key[: len(key) - parts.digest_size]
                if heads_are(head, records, width):
                    builder.add_packed(parts.hash_code, parts.digest_size, without_heads(head, records, width))
                else:
                    builder.add_multihashes(self._multihashes(_pairs(records, table.key_size)))

    def _multihashes(self, pairs: Iterable[tuple[bytes, int]]) -> Iterable[tuple[bytes, int]]:
        if not self._whole_cids:
            return pairs
        return ((CID.trusted(key).multihash, offset) for key, offset in pairs)

    def index_chunks(self, codec: int, *, identity: bool) -> Iterator[bytes]:
        """The index of everything, in pieces; look-ups go on working, through files."""
        if self.is_bounded:
            self._spill()
        elif self.recent or self.tables:
            builder = IndexBuilder(identity=True)
            self._filter = None  # what comes now is read, not put
            self.is_whole = False
            self._in_runs += self._held
            self._drain(builder)
            self.runs.append(_Run(builder.chunks(), level=0, samples=self._samples))
            self._set_hints()
            self.is_whole = True
        return merged_chunks([run.index for run in self.runs], codec, identity=identity)

    def learn(self, source: Source, start: int, stop: int, *, payload: int, limits: Limits) -> None:
        """Forget everything, and learn it anew from the sections between two file positions."""
        self.is_whole = False
        self.close()
        self._in_runs = 0
        for batch in batches(source, start, stop, SectionScanner(limits), bodies=False):
            self.add_sections(batch, payload)
        self.is_whole = True

    def close(self) -> None:
        """Let go of the files, and of the memory at once: the store refers to this, and this to the store."""
        runs, self.runs = self.runs, []
        for run in runs:
            run.close()
        self.tables, self.hints, self._filter = {}, _NONE_OLDER, None
        self._may_overlap = False
        self.recent.clear()
        self._repeats.clear()


def _by_key_size(offsets: dict[bytes, int]) -> Iterable[tuple[int, dict[bytes, int]]]:
    sizes = set(map(len, offsets))
    if len(sizes) == 1:
        return [(sizes.pop(), offsets)]
    by_size: dict[int, dict[bytes, int]] = {}
    for key, offset in offsets.items():
        by_size.setdefault(len(key), {})[key] = offset
    return by_size.items()


def _pairs(records: bytes, key_size: int) -> Iterable[tuple[bytes, int]]:
    return struct.iter_unpack(f">{key_size}sQ", records)


class _Run:
    """A sorted file of keys and offsets."""

    def __init__(self, chunks: Iterator[bytes], *, level: int, samples: int | None) -> None:
        self._file = FileSource.temporary(chunks)
        self.index: Index = parse_index(SliceView(self._file, 0, self._file.size))
        self.level = level
        if samples is not None:
            self.index.keep_samples(samples)

    def offsets_of(self, cid: CID) -> Iterator[int]:
        return self.index.offsets_of(cid)

    def close(self) -> None:
        self._file.close()

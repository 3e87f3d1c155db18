"""One pass over the sections of an archive that counts them and, if asked to, hashes them; alone or shared.

Several processes share the work by ranges of the payload, each of which begins where a section was found by its
hash. If the ranges turn out not to fit together, or something is wrong in one of them, one pass has the last word.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carv2._scan import TOGETHER, SectionScanner, batches
from carv2.cid import CID
from carv2.errors import CarError, GatewayTruncatedError, IntegrityError, UnknownHashError
from carv2.multicodec import name_of
from carv2.reader import CarReader
from carv2.section import BlockChecker, data_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from carv2._scan import Batch
    from carv2.units import Limits

WORTH_SHARING = 4 << 20
"""Bytes of payload from which on starting processes pays."""


@dataclass
class Tally:
    """What a pass over some of the sections found; several add up to that of the whole."""

    block_count: int = 0
    block_bytes: int = 0
    min_block: int | None = None
    max_block: int = 0
    kinds: Counter[tuple[int, int, int]] = field(default_factory=Counter[tuple[int, int, int]])
    """How many CIDs there are of each codec, hash code and size in bytes."""
    missing_roots: set[bytes] = field(default_factory=set[bytes])
    unverified: Counter[int] = field(default_factory=Counter[int])
    """How many blocks could not be checked, by hash code."""
    verified: int = 0
    """How many blocks are what their CIDs say."""
    mismatches: list[CarError] = field(default_factory=list[CarError])
    """The first of the blocks that are not: each an IntegrityError, or the gateway's word on why."""
    mismatch_count: int = 0
    fault: CarError | None = None
    """What ended the pass before the end of the payload."""
    ended_early: bool = False
    """A zero-length section ended it, as it may with null padding."""


MAX_LISTED = 1000


class Counting:
    """Takes batches and fills a tally."""

    def __init__(self, roots: Iterable[CID]) -> None:
        self.tally = Tally(missing_roots={bytes(root) for root in roots if not root.is_identity})
        self._prefixes: dict[bytes, tuple[int, int, int]] = {}

    def count(self, batch: Batch) -> None:
        """Count the sections of ``batch``."""
        tally, entries = self.tally, batch.entries
        sizes = list(map(operator.sub, entries.stops, entries.starts))
        tally.block_count += len(sizes)
        tally.block_bytes += sum(sizes)
        largest, smallest = max(sizes), min(sizes)
        tally.max_block = max(tally.max_block, largest)
        tally.min_block = smallest if tally.min_block is None else min(tally.min_block, smallest)
        kind = None if entries.prefix is None else self._prefixes.get(entries.prefix)
        if kind is not None:
            tally.kinds[kind] += len(sizes)
        else:
            self._count_kinds(entries.cids)
        if tally.missing_roots:
            tally.missing_roots.difference_update(entries.cids)

    def _count_kinds(self, cids: list[bytes]) -> None:
        prefixes, unknown = self._prefixes, set[bytes]()
        for prefix, many in Counter([cid[:-32] for cid in cids]).items():
            kind = prefixes.get(prefix)
            if kind is not None:
                self.tally.kinds[kind] += many
            else:
                unknown.add(prefix)
        if unknown:
            self._count_unknown(unknown, cids)

    def _count_unknown(self, unknown: set[bytes], cids: list[bytes]) -> None:
        """Count the CIDs that are one of ``unknown`` and 32 bytes; remember the kind, if those are the digest."""
        for cid in cids:
            prefix = cid[:-32]
            if prefix not in unknown:
                continue
            parts = CID.trusted(cid).parts
            kind = (parts.codec, parts.hash_code, parts.size)
            self.tally.kinds[kind] += 1
            if parts.digest_size == 32:
                self._prefixes[prefix] = kind


class _Unverified:
    """Counts the blocks that could not be checked."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self.count = 0

    def note(self, cid: CID) -> None:
        self._tally.unverified[cid.hash_code] += 1
        self.count += 1


class Hashing:
    """Takes batches and checks their blocks; bodies that a batch does not hold are read here."""

    def __init__(self, car: CarReader, tally: Tally, *, keep_going: bool) -> None:
        self._car, self._tally, self._keep_going = car, tally, keep_going
        self._unverified = _Unverified(tally)  # not this object: a cycle would keep the file open
        self._checker = BlockChecker(self._unverified.note)

    def check(self, batch: Batch) -> None:
        """Check each block of ``batch``."""
        entries = batch.entries
        if entries.stops[-1] <= len(batch.buffer) and self._checker.are_right(
            entries, data_of(batch.buffer, entries)
        ):
            self._tally.verified += len(entries)
        else:
            self._check_each(batch)

    def _check_each(self, batch: Batch) -> None:
        buffer, size = batch.buffer, len(batch.buffer)
        tally, unverified = self._tally, self._unverified
        passed_over = unverified.count + tally.mismatch_count
        constructors = self._checker.constructors
        for cid, start, stop in batch.entries:
            if stop <= size:
                data = buffer[start:stop]
            else:
                data = self._car.source.read_exactly(batch.base + start, stop - start, "block")
            make = constructors.get(cid[:-32])
            if make is None or make(data).digest() != cid[-32:]:
                self._check_one(cid, data, batch.base + start)
        passed_over = unverified.count + tally.mismatch_count - passed_over
        tally.verified += len(batch.entries) - passed_over

    def _check_one(self, cid: bytes, data: bytes, position: int) -> None:
        try:
            self._checker.check(cid, data, position=position)
        except (IntegrityError, GatewayTruncatedError) as error:
            if not self._keep_going:
                raise
            self._tally.mismatch_count += 1
            if len(self._tally.mismatches) < MAX_LISTED:
                self._tally.mismatches.append(error)


def take(
    car: CarReader,
    *,
    hashes: bool,
    keep_going: bool = False,
    workers: int = 1,
    on_batch: Callable[[Batch], object] | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> Tally:
    """Count, and with ``hashes`` check, all sections of ``car``.

    Args:
        car: the archive.
        hashes: check each block against its hash.
        keep_going: note mismatches and the fault that ends the pass, instead of raising them.
        workers: share the hashing among so many processes, where the archive is a file with a path.
        on_batch: called with each batch, for what else is to be made of the sections.
        on_progress: called with numbers of bytes that were gone through.
    """
    on_batch = _telling(on_batch, on_progress)
    if workers < 1:
        raise ValueError(f"{workers} workers, allowed: 1 and more")
    whole = car.payload_position + car.first_section, car.payload_end
    if hashes and workers > 1 and car.path is not None:
        ranges = _ranges(car, *whole, workers)
        if len(ranges) > 1 and car.payload_end <= car.source.size:
            shared = _take_shared(car, ranges, keep_going=keep_going, on_batch=on_batch)
            if shared is not None:
                return shared
            on_batch = None  # it has had its pass, or this one will end at the same fault
    return take_range(car, *whole, hashes=hashes, keep_going=keep_going, on_batch=on_batch)


def _telling(
    on_batch: Callable[[Batch], object] | None, on_progress: Callable[[int], object] | None
) -> Callable[[Batch], object] | None:
    """``on_batch`` that also tells of the bytes of each batch, if anybody wants to hear of them."""
    if on_progress is None:
        return on_batch

    def take_and_tell(batch: Batch) -> None:
        if on_batch is not None:
            on_batch(batch)
        on_progress(batch.entries[-1][2] - batch.start)

    return take_and_tell


def require_known_hashes(car: CarReader, tally: Tally) -> None:
    """Raise UnknownHashError for the first block that could not be checked, if there is one."""
    if not tally.unverified:
        return
    section = next(section for section in car.sections() if section.cid.hash_code in tally.unverified)
    code = section.cid.hash_code
    why = f"no hash function {name_of(code)} ({code:#x}) here to check {section.cid.short()} with"
    raise UnknownHashError(why, cid=section.cid, position=section.data_position, hash_code=code)


def take_range(
    car: CarReader,
    start: int,
    stop: int,
    *,
    hashes: bool,
    keep_going: bool,
    on_batch: Callable[[Batch], object] | None = None,
) -> Tally:
    """The same for the sections between two file positions."""
    counting = Counting(car.roots)
    hashing = Hashing(car, counting.tally, keep_going=keep_going)
    scanner = SectionScanner(car.limits, null_padding=car.null_padding)
    try:
        row = 1 if hashes else TOGETHER  # what is hashed is read, and told of, block by block
        for batch in batches(car.source, start, stop, scanner, bodies=False, row=row):
            counting.count(batch)
            if on_batch is not None:
                on_batch(batch)
            if hashes:
                hashing.check(batch)
    except CarError as error:
        if not keep_going:
            raise
        counting.tally.fault = error
    counting.tally.ended_early = scanner.ended
    return counting.tally


def _ranges(car: CarReader, start: int, stop: int, count: int) -> list[tuple[int, int]]:
    """Cut a payload into up to ``count`` ranges, each at a place where a section with the right hash stands.

    That it is one of the payload's sections, not one inside a block, is shown by the pass itself: the range
    before it must end exactly there.
    """
    from carv2.operations.salvage import next_section  # noqa: PLC0415  (4 ms, for those who ask for workers)

    stop = min(stop, car.source.size)
    cuts = [start]
    for at in range(1, count):
        target = start + (stop - start) * at // count
        if stop - start >= WORTH_SHARING and target > cuts[-1]:
            cuts.append(next_section(car.source, target, stop, limits=car.limits))
    cuts = sorted({*cuts, stop})
    return list(itertools.pairwise(cuts))


def _take_shared(
    car: CarReader,
    ranges: list[tuple[int, int]],
    *,
    keep_going: bool,
    on_batch: Callable[[Batch], object] | None,
) -> Tally | None:
    """Each range by a process of its own; None where that does not give what one pass would have given."""
    if car.path is None:
        return None
    from carv2.operations._processes import calling  # noqa: PLC0415  (for those who ask for workers)

    settings = (car.path, car.limits, car.null_padding, keep_going)
    own = ranges[:1] if on_batch is None else []  # else there are other things to do here
    with calling(_take_range_of_file, [(*settings, *found) for found in ranges[len(own) :]]) as answers:
        if on_batch is not None:
            _feed(car, on_batch)
        try:
            first = [take_range(car, *found, hashes=True, keep_going=keep_going) for found in own]
        except CarError:
            return None
        others = answers()
    if others is None:
        return None
    tallies = [tally for tally in [*first, *others] if tally is not None]
    if len(tallies) < len(ranges) or any(tally.fault for tally in tallies):
        return None
    if any(tally.ended_early for tally in tallies[:-1]):
        return None
    return functools.reduce(_merged, tallies)


def _feed(car: CarReader, on_batch: Callable[[Batch], object]) -> None:
    """Call ``on_batch`` with each batch up to a fault in the sections, which others raise; its own errors pass."""
    found = car.batches(bodies=False)
    while True:
        try:
            batch = next(found, None)
        except CarError:
            return
        if batch is None:
            return
        on_batch(batch)


def _take_range_of_file(  # noqa: PLR0917
    path: str | os.PathLike[str],
    limits: Limits,
    null_padding: bool,
    keep_going: bool,
    start: int,
    stop: int,
) -> Tally | None:
    """None for a range with a fault, of which a pass over the whole is to tell."""
    from carv2.operations._processes import leave_if_alone  # noqa: PLC0415

    taken = itertools.count()

    def look_round(_: Batch) -> None:
        if next(taken) % 256 == 255:
            leave_if_alone()

    try:
        with CarReader(path, limits=limits, null_padding=null_padding) as car:
            return take_range(car, start, stop, hashes=True, keep_going=keep_going, on_batch=look_round)
    except CarError:
        return None


def _merged(one: Tally, other: Tally) -> Tally:
    """The tally of two neighbouring ranges."""
    smallest = [size for size in (one.min_block, other.min_block) if size is not None]
    return Tally(
        block_count=one.block_count + other.block_count,
        block_bytes=one.block_bytes + other.block_bytes,
        min_block=min(smallest, default=None),
        max_block=max(one.max_block, other.max_block),
        kinds=one.kinds + other.kinds,
        missing_roots=one.missing_roots & other.missing_roots,
        unverified=one.unverified + other.unverified,
        verified=one.verified + other.verified,
        mismatches=(one.mismatches + other.mismatches)[:MAX_LISTED],
        mismatch_count=one.mismatch_count + other.mismatch_count,
    )

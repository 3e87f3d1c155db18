"""One pass over the sections of an archive that counts them and, if asked to, hashes them; alone or shared.

Several processes share the work like this: each locates every section, which is cheap, and hashes only its
own part of the batches. So there is nothing to hand around but what was counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carv2.cid import CID
from carv2.errors import CarError, FormatError, GatewayTruncatedError, IntegrityError
from carv2.reader import CarReader
from carv2.section import BlockChecker

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from carv2._scan import Batch
    from carv2.units import Limits

_CHUNK = 256 << 10  # per task: a process needs more of it than a reader does


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


MAX_LISTED = 1000


class Counting:
    """Takes batches and fills a tally."""

    def __init__(self, roots: Iterable[CID]) -> None:
        self.tally = Tally(missing_roots={bytes(root) for root in roots if not root.is_identity})
        self._prefixes: dict[bytes, tuple[int, int, int]] = {}

    def count(self, batch: Batch) -> None:
        """Count the sections of ``batch``."""
        tally, entries = self.tally, batch.entries
        sizes = [stop - data for _, data, stop in entries]
        smallest = min(sizes)
        tally.block_count += len(sizes)
        tally.block_bytes += sum(sizes)
        tally.max_block = max(tally.max_block, *sizes) if len(sizes) > 1 else max(tally.max_block, sizes[0])
        tally.min_block = smallest if tally.min_block is None else min(tally.min_block, smallest)
        prefixes, unknown = self._prefixes, set[bytes]()
        for prefix, many in Counter([cid[:-32] for cid, _, _ in entries]).items():
            kind = prefixes.get(prefix)
            if kind is not None:
                tally.kinds[kind] += many
            else:
                unknown.add(prefix)
        if unknown:
            self._count_unknown(unknown, entries)
        if tally.missing_roots:
            tally.missing_roots.difference_update([cid for cid, _, _ in entries])

    def _count_unknown(self, unknown: set[bytes], entries: list[tuple[bytes, int, int]]) -> None:
        """Count the CIDs that are one of ``unknown`` and 32 bytes; remember the kind, if those are the digest."""
        for cid, _, _ in entries:
            prefix = cid[:-32]
            if prefix not in unknown:
                continue
            parts = CID.trusted(cid).parts
            kind = (parts.codec, parts.hash_code, parts.size)
            self.tally.kinds[kind] += 1
            if parts.digest_size == 32:
                self._prefixes[prefix] = kind


class Hashing:
    """Takes batches and checks their blocks; bodies that a batch does not hold are read here."""

    def __init__(self, car: CarReader, tally: Tally, *, keep_going: bool) -> None:
        self._car, self._tally, self._keep_going = car, tally, keep_going
        self._checker = BlockChecker(self._on_unverified)
        self._passed_over = 0  # blocks that are not verified

    def _on_unverified(self, cid: CID) -> None:
        self._tally.unverified[cid.hash_code] += 1
        self._passed_over += 1

    def check(self, batch: Batch) -> None:
        """Check each block of ``batch``."""
        buffer, size = batch.buffer, len(batch.buffer)
        passed_over = self._passed_over
        constructors = self._checker.constructors
        for cid, start, stop in batch.entries:
            if stop <= size:
                data = buffer[start:stop]
            else:
                data = self._car.source.read_exactly(batch.base + start, stop - start, "block")
            make = constructors.get(cid[:-32])
            if make is None or make(data).digest() != cid[-32:]:
                self._check_one(cid, data, batch.base + start)
        self._tally.verified += len(batch.entries) - (self._passed_over - passed_over)

    def _check_one(self, cid: bytes, data: bytes, position: int) -> None:
        try:
            self._checker.check(cid, data, position=position)
        except (IntegrityError, GatewayTruncatedError) as error:
            if not self._keep_going:
                raise
            self._passed_over += 1
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
) -> Tally:
    """Count, and with ``hashes`` check, all sections of ``car``.

    Args:
        car: the archive.
        hashes: check each block against its hash.
        keep_going: note mismatches and the fault that ends the pass, instead of raising them.
        workers: share the hashing among so many processes, where the archive is a file with a path.
        on_batch: called with each batch, for what else is to be made of the sections.
    """
    if not hashes or workers < 2 or car.path is None:
        return take_share(car, 0, 1, hashes=hashes, keep_going=keep_going, on_batch=on_batch)
    from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415  (15 ms, for those who ask for it)

    settings = (car.path, car.limits, car.null_padding)
    failures: list[CarError] = []
    with ProcessPoolExecutor(workers - 1) as pool:
        others = [
            pool.submit(_take_share_of_file, *settings, share, workers, keep_going) for share in range(1, workers)
        ]
        tally = Tally()
        try:
            tally = take_share(car, 0, workers, hashes=True, keep_going=keep_going, on_batch=on_batch)
        except CarError as error:
            failures.append(error)
        for other in others:
            try:
                _merge_hashes(tally, other.result())
            except CarError as error:
                failures.append(error)
    if failures:
        raise min(failures, key=_position_of)
    tally.mismatches.sort(key=_position_of)
    del tally.mismatches[MAX_LISTED:]
    return tally


def _position_of(error: CarError) -> int:
    return error.position if isinstance(error, (FormatError, IntegrityError)) else 0


def take_share(
    car: CarReader,
    share: int,
    shares: int,
    *,
    hashes: bool,
    keep_going: bool,
    on_batch: Callable[[Batch], object] | None = None,
) -> Tally:
    """Locate all sections, hash one part in ``shares`` of them; only share 0 counts them."""
    counting = Counting(car.roots)
    hashing = Hashing(car, counting.tally, keep_going=keep_going)
    try:
        for number, batch in enumerate(car.batches(bodies=False)):
            if share == 0:
                counting.count(batch)
                if on_batch is not None:
                    on_batch(batch)
            if hashes and number % shares == share:
                hashing.check(batch)
    except CarError as error:
        if not keep_going:
            raise
        counting.tally.fault = error
    return counting.tally


def _take_share_of_file(  # noqa: PLR0917
    path: str | os.PathLike[str],
    limits: Limits,
    null_padding: bool,
    share: int,
    shares: int,
    keep_going: bool,
) -> Tally:
    with CarReader(path, limits=limits, null_padding=null_padding) as car:
        return take_share(car, share, shares, hashes=True, keep_going=keep_going)


def _merge_hashes(into: Tally, other: Tally) -> None:
    into.unverified.update(other.unverified)
    into.mismatches += other.mismatches
    into.mismatch_count += other.mismatch_count
    into.verified += other.verified
    into.fault = into.fault or other.fault

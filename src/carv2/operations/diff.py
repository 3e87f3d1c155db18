"""Which blocks two archives have in common, and which only one of them has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carv2.cid import CID
from carv2.operations._assembly import naming
from carv2.operations._tally import require_known_hashes, take
from carv2.operations.wrap import require_whole
from carv2.reader import CarReader
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carv2._scan import Batch
    from carv2._source import SourceLike


@dataclass(frozen=True)
class BlockSet:
    """Blocks that are in one archive and not in the other, each once, in the order of the file."""

    cid_bytes: tuple[bytes, ...]
    byte_count: int
    """Of their data."""

    def __len__(self) -> int:
        return len(self.cid_bytes)

    def __iter__(self) -> Iterator[CID]:
        return map(CID.trusted, self.cid_bytes)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What :func:`diff` found."""

    roots: tuple[tuple[CID, ...], tuple[CID, ...]]
    """Of the one archive and the other."""
    only_in_a: BlockSet
    only_in_b: BlockSet
    common_count: int
    """Blocks in both."""
    common_bytes: int

    @property
    def same(self) -> bool:
        """The same roots in the same order, and the same blocks."""
        return self.roots[0] == self.roots[1] and not self.only_in_a.cid_bytes and not self.only_in_b.cid_bytes


def diff(
    a: SourceLike,
    b: SourceLike,
    *,
    verify: bool = True,
    workers: int = 1,
    on_progress: Callable[[int], object] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    null_padding: bool = False,
) -> Difference:
    """Compare the roots and the blocks of two archives.

    Blocks are compared by their whole CIDs; version, order, duplicates, padding and index do not matter. Takes
    some 150 bytes of memory for each different block of the two, and none for their data.

    Args:
        a: an archive of either version.
        b: the other one.
        verify: check the hash of each block, so that what is called the same is.
        workers: processes to share the hashing among, for sources with a path.
        on_progress: called with numbers of bytes that were gone through.
        limits: upper bounds for what the files may claim.
        null_padding: take a zero-length section for the end of a payload.

    Raises:
        FormatError: an archive is damaged; ``archive`` of the error is its path.
        IntegrityError: ``verify``, and a block is not what its CID says; the same.

    >>> import carv2
    >>> blocks = [(carv2.CID.of_data(data), data) for data in (b"fish", b"lobster", b"barreleye")]
    >>> one, other = (b"".join(carv2.iter_car([], some)) for some in (blocks[:2], blocks[1:]))
    >>> found = diff(one, other)
    >>> found.same, len(found.only_in_a), len(found.only_in_b), found.common_bytes
    (False, 1, 1, 7)
    """
    comparison = _Comparison()
    roots: list[tuple[CID, ...]] = []
    for source, add in ((a, comparison.add_a), (b, comparison.add_b)):
        with naming(source), CarReader(source, limits=limits, null_padding=null_padding) as car:
            require_whole(car)
            roots.append(car.roots)
            tally = take(car, hashes=verify, workers=workers, on_batch=add, on_progress=on_progress)
            require_known_hashes(car, tally)
    return comparison.result((roots[0], roots[1]))


class _Comparison:
    """All blocks by CID: those of A, with the ones that B has too marked by a negative size; then B's own."""

    def __init__(self) -> None:
        self._a: dict[bytes, int] = {}
        self._b: dict[bytes, int] = {}
        self._common_count = self._common_bytes = 0

    def add_a(self, batch: Batch) -> None:
        self._a.update([(cid, stop - data) for cid, data, stop in batch.entries])

    def add_b(self, batch: Batch) -> None:
        found = self._a
        for cid, data, stop in batch.entries:
            size = found.get(cid)
            if size is None:
                self._b[cid] = stop - data
            elif size >= 0:
                found[cid] = ~size
                self._common_count += 1
                self._common_bytes += size

    def result(self, roots: tuple[tuple[CID, ...], tuple[CID, ...]]) -> Difference:
        return Difference(
            roots=roots,
            only_in_a=_block_set(self._a),
            only_in_b=_block_set(self._b),
            common_count=self._common_count,
            common_bytes=self._common_bytes,
        )


def _block_set(sizes: dict[bytes, int]) -> BlockSet:
    own = {cid: size for cid, size in sizes.items() if size >= 0}
    return BlockSet(tuple(own), sum(own.values()))

"""Whether references still lead to what they led to, and what changed where they do not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from carv2.cid import CID
from carv2.errors import CodecError, FormatError, IntegrityError
from carv2.filestore._walking import DAMAGED, LEAF, NODE
from carv2.filestore.status import ReferenceStatus, Status
from carv2.filestore.store import FileStore
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from carv2._source import SourceLike
    from carv2.filestore._walking import Met
    from carv2.filestore.record import PathLike

__all__ = ["ReferenceStatus", "ReferencesReport", "check_references", "verify_references"]

MAX_LISTED = 1000

_RAW = b"\x01\x55"


def check_references(store: FileStore, *, hashes: bool = True) -> Iterator[ReferenceStatus]:
    """Follow each reference that the roots lead to, in the order of a depth-first walk, each leaf once.

    Nodes and leaves that stand in the archive are met on the way; only those that are missing or damaged are
    reported. Nothing that an archive or an original holds ends the walk.

    Args:
        store: the archive, opened with what may be read.
        hashes: read the originals and hash them; otherwise only look whether they are there, may be read, and are
            long enough.

    >>> import carv2
    >>> leaf = CID.of_data(b"fish")
    >>> with FileStore(b"".join(carv2.iter_car([leaf], [])), allow=[]) as store:
    ...     [(str(each.status), each.detail) for each in check_references(store)]
    [('missing', 'neither a block nor a record of it is there')]
    """
    checker = _Checker(store, hashes=hashes)
    for met in store.met():
        if met.kind != NODE:
            yield checker.status_of(met)


class _Checker:
    """Looks where references lead.

    Links may name the same bytes under any number of codecs: a record is followed once for all codecs but raw.
    """

    def __init__(self, store: FileStore, *, hashes: bool) -> None:
        self._store, self._hashes = store, hashes
        self._known: dict[bytes, ReferenceStatus] = {}

    def status_of(self, met: Met) -> ReferenceStatus:
        """How it fares, be it a leaf, or a node that is damaged or missing."""
        if met.kind != LEAF or not met.key or met.cid.startswith(_RAW):
            return _status_of(met, self._store, hashes=self._hashes)
        known = self._known.get(met.key)
        if known is None:
            known = self._known[met.key] = _status_of(met, self._store, hashes=self._hashes)
        return replace(known, cid=CID.trusted(met.cid))


def _status_of(met: Met, store: FileStore, *, hashes: bool) -> ReferenceStatus:
    cid = CID.trusted(met.cid)
    if met.kind == DAMAGED and met.error is not None:
        is_damaged = isinstance(met.error, (FormatError, IntegrityError)) and not isinstance(met.error, CodecError)
        what = "the block is damaged" if is_damaged else "the links of the block cannot be read"
        return ReferenceStatus(cid, None, Status.OTHER_ERROR, f"{what}: {met.error.args[0]}")
    return store.status_of(cid, hashes=hashes)


@dataclass(frozen=True, kw_only=True)
class ReferencesReport:
    """What :func:`verify_references` found."""

    counts: Mapping[Status, int]
    """References, and nodes that are missing or damaged, by how they fared; statuses that did not occur are left
    out."""
    leaf_count: int
    """Leaves that are kept by reference."""
    node_count: int
    """Blocks that stand in the archive in full and are reached and sound; identity CIDs are none."""
    node_bytes: int
    """Their data, in bytes."""
    size: int
    """Bytes that the references name."""
    orphan_count: int
    """Records that nothing links to."""
    orphan_counts: Mapping[Status, int]
    """Those by how they fared; in ``counts`` they are not."""
    problems: tuple[ReferenceStatus, ...]
    """The first 1,000 that are not ok."""
    damage: str
    """What is wrong with the archive as a whole, such as that it was cut; empty if nothing is."""

    @property
    def ok(self) -> bool:
        """Everything that the roots lead to can be had."""
        return not self.damage and not any(count for status, count in self.counts.items() if status)


def verify_references(
    source: SourceLike,
    *,
    allow: Iterable[PathLike],
    allow_urls: Iterable[str] = (),
    root: PathLike = "/",
    hashes: bool = True,
    on_status: Callable[[ReferenceStatus], object] | None = None,
    null_padding: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> ReferencesReport:
    """Check a ref-CARv2 as a whole: its nodes, and that all references still lead to what they led to.

    A cut archive, or one with a damaged index, is checked as far as it goes.

    Args:
        source: the archive.
        allow: what may be read, as for :class:`FileStore`, and so ``allow_urls``.
        root: what paths in records are relative to.
        hashes: as for :func:`check_references`.
        on_status: called with each status, also those that are ok; at the end with those of records that nothing
            links to (any more, of an archive that was cut).
        null_padding: take a zero-length section for the end of the payload.
        limits: upper bounds for what the archive may claim.

    Raises:
        FormatError: not an archive.
        OSError: the archive cannot be opened.

    >>> import carv2
    >>> leaf = CID.of_data(b"fish")
    >>> verify_references(b"".join(carv2.iter_car([leaf], [])), allow=[]).counts
    {<Status.KEY_NOT_FOUND: 30>: 1}
    """
    opened = FileStore(
        source,
        allow=allow,
        allow_urls=allow_urls,
        root=root,
        null_padding=null_padding,
        salvage=True,
        limits=limits,
    )
    with opened as store:
        tally, checker = _Tally(), _Checker(store, hashes=hashes)
        for met in store.met():
            tally.add(met, None if met.kind == NODE else checker.status_of(met), on_status)
        for key in dict.fromkeys(store.record_keys()):
            if key not in tally.keys:
                tally.add_unlinked(store.status_of_record(key, hashes=hashes), on_status)
        return tally.report(store.damage)


class _Tally:
    """Counts what a walk met."""

    def __init__(self) -> None:
        self.keys: set[bytes] = set()
        self._counts: Counter[Status] = Counter()
        self._problems: list[ReferenceStatus] = []
        self._unlinked: Counter[Status] = Counter()
        self._references = self._nodes = self._node_bytes = self._size = 0

    def add(
        self, met: Met, status: ReferenceStatus | None, on_status: Callable[[ReferenceStatus], object] | None
    ) -> None:
        if status is None:
            if not CID.trusted(met.cid).is_identity:
                self._nodes += 1
                self._node_bytes += met.size
            return
        if met.kind == LEAF:
            self.keys.add(met.key)
            self._references += 1
            self._size += 0 if met.reference is None else met.reference.size
        self._counts[status.status] += 1
        if status.status and len(self._problems) < MAX_LISTED:
            self._problems.append(status)
        if on_status is not None:
            on_status(status)

    def add_unlinked(self, status: ReferenceStatus, on_status: Callable[[ReferenceStatus], object] | None) -> None:
        self._unlinked[status.status] += 1
        if on_status is not None:
            on_status(status)

    def report(self, damage: str) -> ReferencesReport:
        return ReferencesReport(
            counts=dict(self._counts),
            leaf_count=self._references,
            node_count=self._nodes,
            node_bytes=self._node_bytes,
            size=self._size,
            orphan_count=sum(self._unlinked.values()),
            orphan_counts=dict(self._unlinked),
            problems=tuple(self._problems),
            damage=damage,
        )

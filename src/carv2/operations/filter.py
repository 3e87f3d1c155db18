"""Some of the blocks of an archive, in an archive of their own."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carv2._storefile import StoreFile
from carv2.cid import CID
from carv2.errors import VersionError
from carv2.header import PRAGMA, SIZE
from carv2.index import CAR_MULTIHASH_INDEX_SORTED
from carv2.multihash import IDENTITY
from carv2.operations._assembly import Assembly, Layout, naming
from carv2.reader import CarReader
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import BinaryIO

    from carv2._seen import Seen
    from carv2._source import SourceLike
    from carv2.cid import CIDLike


@dataclass(frozen=True, kw_only=True)
class FilterReport:
    """What :func:`filter_blocks` wrote and what it left."""

    roots: tuple[CID, ...]
    """Of the new archive."""
    block_count: int
    """Blocks written; when appending, without those that were there."""
    block_bytes: int
    identity_count: int
    """Identity CIDs that were asked for, and not written."""
    duplicate_count: int
    """Sections left out because one with the same CID is there already."""
    missing: tuple[CID, ...]
    """CIDs that were asked for and that no section has; always empty with ``inverse``."""


def filter_blocks(
    source: SourceLike,
    destination: str | os.PathLike[str] | BinaryIO,
    cids: Iterable[CIDLike],
    *,
    inverse: bool = False,
    append: bool = False,
    version: int = 2,
    keep_identity: bool = False,
    verify: bool = True,
    workers: int = 1,
    on_progress: Callable[[int], object] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    null_padding: bool = False,
) -> FilterReport:
    """Write the blocks of ``source`` whose CIDs are among ``cids`` to a new archive, each once, in file order.

    The rules are those of go-car's ``car filter``: CIDs are compared whole, so a block asked for by another codec
    or CID version is not found; roots are filtered the same way; identity CIDs, which hold their data
    themselves, are left out. (go-car compares blocks that it wrote by multihash; here, other codec, other block.)

    Args:
        source: an archive of either version.
        destination: a path, which is replaced whole or not at all and may be ``source``, or any sink.
        cids: the blocks to keep.
        inverse: keep all blocks but these.
        append: add to the CARv2 at the path ``destination``, which keeps its roots, padding and kind of index.
        version: of the new archive, 1 or 2; a CARv2 has a fresh index.
        keep_identity: write sections with identity CIDs too.
        verify: check the hash of each block of ``source``.
        workers: processes to share the hashing among, for a source with a path.
        on_progress: called with numbers of bytes of the source that were gone through.
        limits: upper bounds for what the files may claim.
        null_padding: take a zero-length section for the end of the source's payload.

    Raises:
        FormatError: an archive is damaged.
        IntegrityError: ``verify``, and a block is not what its CID says.
        VersionError: ``append`` to what is not a CARv2.
        LockedError: ``append`` to what a writer has open.

    >>> import carv2, io
    >>> blocks = [(carv2.CID.of_data(data), data) for data in (b"fish", b"lobster")]
    >>> archive, sink = b"".join(carv2.iter_car([], blocks)), io.BytesIO()
    >>> report = filter_blocks(archive, sink, [blocks[1][0]])
    >>> report.block_count, [block.data for block in carv2.open(sink.getvalue())]
    (1, [b'lobster'])
    """
    choice = _Choice({bytes(CID.of(cid)) for cid in cids}, inverse=inverse, keep_identity=keep_identity)
    with CarReader(source, limits=limits, null_padding=null_padding) as car, contextlib.ExitStack() as stack:
        if append:
            roots, assembly = _begin_with(stack, destination, choice, version, limits)
        else:
            roots = tuple(root for root in car.roots if choice.is_matched(bytes(root)))
            assembly = Assembly(roots, Layout(version=version), limits=limits)
        assembly.add(car, source, choice.wants, verify=verify, workers=workers, on_progress=on_progress)
        assembly.write(destination)
    return choice.report(roots)


def _begin_with(
    stack: contextlib.ExitStack,
    destination: str | os.PathLike[str] | BinaryIO,
    choice: _Choice,
    version: int,
    limits: Limits,
) -> tuple[tuple[CID, ...], Assembly]:
    """An assembly that has all of the archive to append to, which ``stack`` keeps locked; and its roots."""
    if not isinstance(destination, (str, os.PathLike)):
        raise TypeError("appending needs the path of the archive to append to")
    with naming(destination):
        file = stack.enter_context(contextlib.closing(StoreFile.resume(destination)))
        old = stack.enter_context(CarReader(file, limits=limits))
        if version != 2 or old.version != 2:
            raise VersionError(min(version, old.version), position=0, supported=(2,))
        assembly = Assembly(old.roots, _layout_of(old), limits=limits)
        assembly.add(old, file, choice.note, verify=False)
        return old.roots, assembly


def _layout_of(car: CarReader) -> Layout:
    """What makes a new archive look like ``car``, a CARv2; one without an index gets the usual one."""
    codec = CAR_MULTIHASH_INDEX_SORTED if car.index is None else car.index.codec
    assert car.header is not None
    padding = car.header.data_offset - len(PRAGMA) - SIZE
    return Layout(index_codec=codec, identity=car.header.is_fully_indexed, data_padding=padding)


class _Choice:
    """Decides section by section, and remembers what it met."""

    def __init__(self, wanted: set[bytes], *, inverse: bool, keep_identity: bool) -> None:
        self._wanted, self._inverse, self._keep_identity = wanted, inverse, keep_identity
        self._seen: Seen = {}
        self._usual = set[bytes]()  # all of a CID but its 32-byte digest, where the hash is not identity
        self._count = self._bytes = self._identity_count = self._duplicate_count = 0

    def is_matched(self, cid: bytes) -> bool:
        """Whether the CID is one to keep, be it a block's or a root's."""
        return (cid in self._wanted) != self._inverse

    def note(self, cid: bytes, _size: int) -> bool:
        """Remember what is in the archive already; all of it stays."""
        self._seen[cid] = None
        return True

    def wants(self, cid: bytes, size: int) -> bool:
        """Whether to write this section."""
        if (cid in self._wanted) == self._inverse:
            return False
        if cid in self._seen:
            self._duplicate_count += 1
            return False
        self._seen[cid] = None
        if not self._keep_identity and self._is_identity(cid):
            self._identity_count += 1
            return False
        self._count += 1
        self._bytes += size
        return True

    def _is_identity(self, cid: bytes) -> bool:
        if cid[:-32] in self._usual:
            return False
        parts = CID.trusted(cid).parts
        if parts.digest_size == 32 and parts.hash_code != IDENTITY:
            self._usual.add(cid[:-32])
        return parts.hash_code == IDENTITY

    def report(self, roots: tuple[CID, ...]) -> FilterReport:
        """What came of it."""
        missing = set[bytes]() if self._inverse else self._wanted - self._seen.keys()
        return FilterReport(
            roots=roots,
            block_count=self._count,
            block_bytes=self._bytes,
            identity_count=self._identity_count,
            duplicate_count=self._duplicate_count,
            missing=tuple(map(CID.trusted, sorted(missing))),
        )

"""From an archive that holds everything to one that refers to the original for its leaves."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carv2._atomic import writing
from carv2.blockstore import ReadOnlyBlockstore
from carv2.cid import RAW
from carv2.filestore._checks import Spared
from carv2.filestore._fault import Fault
from carv2.filestore._following import Follower
from carv2.filestore._placing import Placer
from carv2.filestore._writing import ReferenceWriter, can_refer
from carv2.filestore.importing import absolute
from carv2.filestore.keys import variant_of
from carv2.filestore.record import FileReference
from carv2.filestore.relocate import is_below
from carv2.reader import CarReader
from carv2.units import DEFAULT_LIMITS, Limits
from carv2.unixfs._node import codec_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from carv2._source import SourceLike
    from carv2.cid import CID
    from carv2.filestore._placing import Place
    from carv2.filestore.keys import Variant
    from carv2.filestore.record import PathLike

__all__ = ["Referred", "refer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Referred:
    """What :func:`refer` wrote."""

    roots: tuple[CID, ...]
    block_count: int
    reference_count: int
    """Blocks of ``block_count`` that the archive has no more: they stand in the original."""
    size: int
    """Bytes of them."""
    kept_count: int
    """Raw leaves that stay in full: the original has other bytes where they should be, or has no such place."""
    kept_size: int
    """Bytes of them."""
    archive_size: int
    """Bytes of the new archive, index included."""


def refer(
    source: SourceLike,
    original: PathLike,
    out: str | os.PathLike[str] | BinaryIO,
    *,
    variant: str | Variant = "D",
    root: PathLike = "/",
    on_progress: Callable[[int], object] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Referred:
    """Write a ref-CAR of ``source``, an archive of the file or folder ``original``.

    The DAG says where in the original each raw leaf should stand. If it does, byte for byte, a record takes the
    place of its block; all other blocks stay. Sections keep their order, so of what :func:`carv2.unixfs.pack`
    made of the original comes what :func:`import_by_reference` would have made of it. Memory: about 500 bytes
    for each leaf.

    Args:
        source: an archive whose root is that of ``original``.
        original: what the archive was made of: it is only read. Of an archive with a folder around the paths, that
            is the folder in which they stand.
        out: a path, which is replaced whole or not at all, and which may be that of ``source``; or a binary file
            that can seek, at its beginning.
        variant: of the format, ``"A"`` to ``"D"``.
        root: folder that the paths in the records begin at.
        on_progress: called with each number of bytes of blocks that were gone through.
        limits: upper bounds for what the archive may claim.

    Raises:
        OSError: there is nothing at ``original``.
        IntegrityError, FormatError: the archive is damaged.
        ValueError: ``original`` is outside ``root``, or ``out`` is a file in it other than ``source``.

    >>> import io
    >>> from carv2.unixfs import pack
    >>> dense, references = io.BytesIO(), io.BytesIO()
    >>> _ = pack(__file__, dense, wrap=False)
    >>> report = refer(dense.getvalue(), __file__, references)
    >>> report.reference_count, report.kept_count
    (1, 0)
    """
    chosen, start = variant_of(variant), absolute(os.fsdecode(original))
    os.stat(start)  # raises where there is nothing
    base = os.path.abspath(os.fsdecode(root))
    if not is_below(start, base):
        raise ValueError(f"{start} is not below {base}, the root of the references")
    follower = Follower([start], root=root, max_size=limits.section)
    try:
        with CarReader(source, limits=limits) as car:
            places = _places_in(car, start)
            _refuse_originals(out, source, start, places)
            with writing(out) as file:
                with ReferenceWriter(
                    file, car.roots, variant=chosen, verify=False, repeats=True, limits=limits
                ) as writer:
                    sections = _Sections(writer, follower, places, root)
                    for block in car:
                        sections.write(*block)
                        if on_progress is not None:
                            on_progress(len(block.data))
                return sections.report(car.roots, archive_size=file.tell())
    finally:
        follower.close()


def _refuse_originals(
    out: str | os.PathLike[str] | BinaryIO, source: SourceLike, start: str, places: dict[bytes, list[Place]]
) -> None:
    spared = Spared(out)
    for path in {place.path for found in places.values() for place in found}:
        spared.refuse_file(path)
    if isinstance(source, bytes) or not spared.is_file(source):  # an archive in the folder may be rewritten
        spared.refuse_below(start)


class _Sections:
    """Writes the sections of the new archive."""

    def __init__(
        self, writer: ReferenceWriter, follower: Follower, places: dict[bytes, list[Place]], root: PathLike
    ) -> None:
        self._writer, self._follower, self._places, self._root = writer, follower, places, root
        self._file = self._path = ""
        self._size = self._kept_count = self._kept_size = 0

    def write(self, cid: bytes, data: bytes) -> None:
        """Write a block, or a record of where the original has it."""
        reference = self._reference(cid, len(data))
        if reference is not None and self._is_there(reference, data):
            self._writer.put_reference(cid, reference)
            self._size += len(data)
        elif self._writer.put(cid, data) and codec_of(cid) == RAW:
            self._kept_count += 1
            self._kept_size += len(data)

    def _reference(self, cid: bytes, size: int) -> FileReference | None:
        """Where the leaf should stand: each of its sections at a place of its own, as far as there are any."""
        found = self._places.get(cid)
        if not found or not can_refer(cid):
            return None
        place = found.pop() if len(found) > 1 else found[0]
        if place.path != self._file:
            self._file = place.path
            self._path = FileReference.of_path(place.path, 0, 0, self._root).path
        return FileReference(self._path, place.offset, size)

    def _is_there(self, reference: FileReference, data: bytes) -> bool:
        try:
            return self._follower.read(reference) == data
        except Fault:
            return False

    def report(self, roots: tuple[CID, ...], *, archive_size: int) -> Referred:
        """What was done."""
        writer = self._writer
        return Referred(
            roots=roots,
            block_count=writer.node_count + writer.reference_count,
            reference_count=writer.reference_count,
            size=self._size,
            kept_count=self._kept_count,
            kept_size=self._kept_size,
            archive_size=archive_size,
        )


def _places_in(car: CarReader, original: str) -> dict[bytes, list[Place]]:
    """Where the leaves of an archive stand in what it was made of, if it is what it was."""
    counts: Counter[bytes] = Counter()
    for batch in car.batches(bodies=False):
        counts.update([cid for cid, _, _ in batch.entries])
    with ReadOnlyBlockstore(car.source, limits=car.limits) as store:
        placer = Placer(store, counts)
        for root in car.roots:
            placer.go_through(root, original)
    for found in placer.places.values():
        found.reverse()  # the first one is taken first, from the end
    return placer.places

"""From an archive of references to one that holds everything itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carv2._atomic import writing
from carv2.filestore._checks import LeafReader, Spared
from carv2.filestore._following import Follower
from carv2.filestore._sections import leaves_in, parts_of
from carv2.reader import CarReader
from carv2.units import DEFAULT_LIMITS, Limits
from carv2.writer import CarWriter

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable
    from typing import BinaryIO

    from carv2._source import SourceLike
    from carv2.cid import CID
    from carv2.filestore._sections import Part
    from carv2.filestore.record import PathLike

__all__ = ["Densified", "densify"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Densified:
    """What :func:`densify` wrote."""

    roots: tuple[CID, ...]
    block_count: int
    reference_count: int
    """Blocks of ``block_count`` that came from originals."""
    size: int
    """Bytes that were read from them."""
    orphan_count: int
    """Records that nothing in the archive links to, which say where but not what: they were left out."""


def densify(
    source: SourceLike,
    out: str | os.PathLike[str] | BinaryIO,
    *,
    allow: Iterable[PathLike],
    allow_urls: Iterable[str] = (),
    root: PathLike = "/",
    version: int = 2,
    on_progress: Callable[[int], object] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Densified:
    """Write an archive in which each leaf that ``source``, a ref-CAR, refers to stands in full.

    Sections keep their order, so of what :func:`import_by_reference` wrote comes, byte for byte, what
    :func:`carv2.unixfs.pack` makes of the same files by the same profile. Every block is checked against its hash.
    Memory: about 250 bytes for each reference, and an index that is as large as the new one.

    Args:
        source: a ref-CAR; an archive without references is copied, its index made anew.
        out: a path, which is replaced whole or not at all, or a binary file that can seek, at its beginning.
        allow: folders and files that may be read; a reference that leads elsewhere is an error.
        allow_urls: servers that may be asked, such as ``https://example.org``.
        root: what paths in the records are relative to.
        version: of the new archive, 1 or 2.
        on_progress: called with each number of bytes that were read from originals.
        limits: upper bounds for what the archive may claim.

    Raises:
        CorruptReferenceError: a leaf cannot be had; its ``status`` and ``reference`` say why. Nothing is at the
            path ``out`` that was not there before.
        BlockNotFoundError: a node of the DAG is missing, so that its leaves are not known.
        IntegrityError, CodecError, FormatError: the archive is damaged.
        ValueError: ``out`` is one of the originals.

    >>> import io
    >>> from carv2.filestore import import_by_reference
    >>> from carv2.unixfs import pack
    >>> here, references, dense, packed = __file__, io.BytesIO(), io.BytesIO(), io.BytesIO()
    >>> _ = import_by_reference(here, references, profile="unixfs-v1-2025")
    >>> densify(references.getvalue(), dense, allow=[here]).reference_count
    1
    >>> _ = pack(here, packed, wrap=False)
    >>> dense.getvalue() == packed.getvalue()
    True
    """
    follower = Follower(allow, allow_urls, root=root, max_size=limits.section)
    try:
        with CarReader(source, limits=limits) as car:
            leaves = leaves_in(car)
            spared = Spared(out)
            for part in parts_of(car, leaves):
                if part.reference is not None:
                    spared.refuse_named(part.reference, root)
            with (
                writing(out) as file,
                CarWriter(file, car.roots, version=version, verify=False, limits=limits) as writer,
            ):
                sections = _Sections(writer, LeafReader(follower), on_progress)
                for part in parts_of(car, leaves):
                    sections.write(part)
    finally:
        follower.close()
    return sections.report(car.roots)


class _Sections:
    """Writes the sections of the new archive."""

    def __init__(self, writer: CarWriter, reader: LeafReader, on_progress: Callable[[int], object] | None) -> None:
        self._writer, self._reader, self._on_progress = writer, reader, on_progress
        self._block_count = self._reference_count = self._size = self._orphan_count = 0

    def write(self, part: Part) -> None:
        """Write a section, of a record the leaf."""
        cid, data = part.cid, part.data
        if part.reference is not None:
            if part.leaf is None:
                self._orphan_count += 1
                return
            cid = part.leaf
            data = self._reader.read(cid, part.reference, position=part.position)
            self._reference_count += 1
            self._size += len(data)
            if self._on_progress is not None:
                self._on_progress(len(data))
        for each in (cid, *part.others):  # read once, however many codecs links to it name
            self._writer.write(each, data)
            self._block_count += 1

    def report(self, roots: tuple[CID, ...]) -> Densified:
        """What was done."""
        return Densified(
            roots=roots,
            block_count=self._block_count,
            reference_count=self._reference_count,
            size=self._size,
            orphan_count=self._orphan_count,
        )

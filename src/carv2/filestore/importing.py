"""From local files and folders to an archive that holds everything about them but their bytes."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from carv2._atomic import writing
from carv2._tree import inode_of
from carv2.cid import CID
from carv2.errors import ChangedError
from carv2.filestore._checks import Spared
from carv2.filestore._writing import ReferenceWriter
from carv2.filestore.keys import variant_of
from carv2.filestore.record import FileReference
from carv2.units import DEFAULT_LIMITS, Limits
from carv2.unixfs.importing import Importer, ImportReport
from carv2.unixfs.profiles import ImportProfile, profile_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from carv2.filestore.keys import Variant
    from carv2.unixfs._blocks import Place
    from carv2.unixfs.importing import Paths, Special

__all__ = ["ReferenceReport", "import_by_reference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceReport(ImportReport):
    """What an import took in, and what it made of it."""

    reference_count: int
    """Blocks of ``block_count`` that stay where they are: the archive has records of them."""
    archive_size: int
    """Bytes of the archive, index included."""


def import_by_reference(
    paths: Paths,
    out: str | os.PathLike[str] | BinaryIO,
    *,
    profile: str | ImportProfile = "lotus",
    variant: str | Variant = "D",
    wrap: bool = False,
    hidden: bool | None = None,
    special: Special = "raise",
    root: str = "/",
    workers: int | None = None,
    on_progress: Callable[[int], object] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> ReferenceReport:
    """Import files and folders into an archive that refers to them: a ref-CARv2, as Lotus' client makes them.

    The nodes of the DAG stand in it in full, its raw leaves as records of where their bytes are: file, offset,
    size. Each file is read once and never written to. The records stand where the blocks would stand in the
    archive of :func:`carv2.unixfs.pack`, whose root is the same, so they come in the order of offsets, and the
    same files at the same paths give the same archive, byte for byte. Where an equal leaf comes again, the record
    is of the first one. Leaves that are no run of a file's bytes, those of profiles with ``leaves="file"``, stand
    in full. Memory: as of ``pack``.

    Paths go into the records as they are, made absolute, symlinks in them kept. Whoever gets the archive can read
    them there.

    Args:
        paths: a file or folder, or several.
        out: a path, which is replaced whole or not at all; or a binary file that can seek, at its beginning. It
            may be new in a folder that is imported, and is left out then; what is imported is never written over.
        profile: the name of a preset, or a profile.
        variant: of the format: ``"D"`` is what Lotus wrote from 1.19 on, ``"A"`` what it wrote up to 1.13.1.
        wrap: make a folder around the paths, in which they have their own names; without, there can be only one.
        hidden: take entries of folders whose names begin with a dot; None is as the profile says.
        special: what to do about a device, a socket or a named pipe in a folder: ``raise``, or ``skip`` it and
            say so in the report.
        root: folder that the paths in the records begin at. Lotus reads them from ``/`` only.
        workers: threads that hash; None for what suits the machine.
        on_progress: called with each number of bytes that were read.
        limits: leaves and blocks that a reader with the same limits could not read back are refused.

    Raises:
        ChangedError: a file was written to while it was read. There is no archive then at a path.
        OSError: something cannot be read or has no place in a DAG; with its path.
        ValueError: no path, several without ``wrap``, two of the same name, a file outside ``root``, or ``out`` is
            one of the files or cannot seek.

    >>> import io
    >>> report = import_by_reference(__file__, io.BytesIO())
    >>> report.block_count, report.reference_count
    (1, 1)
    """
    chosen = profile_of(profile)
    variant = variant_of(variant)
    named: Paths = paths if isinstance(paths, (str, bytes, os.PathLike)) else list(paths)
    _refuse_originals(out, named, chosen, hidden=chosen.hidden if hidden is None else hidden)
    with writing(out) as file:
        skip = {inode for inode in [inode_of(file)] if inode is not None}  # a new file, which may be in a folder
        if not file.seekable() or file.tell():
            raise ValueError("an archive whose root is known last needs a file that can seek, at its beginning")
        blank = CID.of_data(b"", codec="dag-pb", hash=chosen.hash, version=chosen.cid_version)
        repeats = chosen.duplicates == "again"
        with ReferenceWriter(file, [blank], variant=variant, verify=False, repeats=repeats, limits=limits) as car:
            refer = _Referring(car, root)
            importer = Importer(chosen, car.put, refer=refer, workers=workers, on_progress=on_progress)
            link = importer.add_paths(named, wrap=wrap, hidden=hidden, special=special, skip=skip)
            require_unchanged(importer.changed)
            car.set_roots([link.cid])
        written = car.node_count + car.reference_count
        report = importer.report(link, block_count=written, duplicate_count=car.repeated_count)
        return _extended(report, reference_count=car.reference_count, archive_size=file.tell())


def _refuse_originals(
    out: str | os.PathLike[str] | BinaryIO, paths: Paths, profile: ImportProfile, *, hidden: bool
) -> None:
    spared = Spared(out)
    for path in [paths] if isinstance(paths, (str, bytes, os.PathLike)) else paths:
        spared.refuse_file(path)
        spared.refuse_below(path, hidden=hidden, symlinks=profile.symlinks)


class _Referring:
    """Writes the record of each leaf that an import comes to."""

    def __init__(self, car: ReferenceWriter, root: str) -> None:
        self._car, self._root = car, root
        self._opened = self._path = ""

    def __call__(self, cid: bytes, place: Place, size: int) -> None:
        if place.path != self._opened:
            self._opened = place.path
            self._path = FileReference.of_path(absolute(place.path), 0, 0, self._root).path
        self._car.put_reference(cid, FileReference(self._path, place.offset, size))


def absolute(path: str) -> str:
    """The same file's absolute path; symlinks stay, unless the path goes up again behind them."""
    if ".." not in path.split("/"):
        return os.path.abspath(path)
    folder, name = os.path.split(path)  # "link/.." is where the link leads to, not where it stands
    return os.path.realpath(path) if name in {"", ".."} else os.path.join(os.path.realpath(folder), name)


def require_unchanged(changed: list[str]) -> None:
    """Raise ChangedError if there is something in ``changed``."""
    if changed:
        others = f", and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise ChangedError(f"{changed[0]} was written to while it was read{others}: import again")


def _extended(report: ImportReport, *, reference_count: int, archive_size: int) -> ReferenceReport:
    known = {field.name: getattr(report, field.name) for field in fields(report)}
    return ReferenceReport(**known, reference_count=reference_count, archive_size=archive_size)

"""Records made to say where the originals are now."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from carv2._atomic import writing
from carv2.filestore._checks import LeafReader, Spared
from carv2.filestore._following import Follower
from carv2.filestore._sections import NO_LEAVES, leaves_in, parts_of
from carv2.filestore.record import FileReference, encode
from carv2.reader import CarReader
from carv2.units import DEFAULT_LIMITS, Limits
from carv2.writer import CarWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import BinaryIO, TypeAlias

    from carv2._source import SourceLike
    from carv2.filestore._sections import Leaves, Part
    from carv2.filestore.record import PathLike

    Check: TypeAlias = Literal["hash", "size", "none"]

__all__ = ["Relocated", "relocate"]

_CHECKS = ("hash", "size", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Relocated:
    """What :func:`relocate` did."""

    reference_count: int
    """Records in the archive."""
    moved_count: int
    """Records that say something else now."""
    paths: dict[str, str]
    """The new path of each original that moved, by its old one."""
    unchecked_count: int
    """Moved records that nothing in the archive links to: which bytes they mean is not known."""


def relocate(
    source: SourceLike,
    out: str | os.PathLike[str] | BinaryIO,
    moves: Mapping[str, str],
    *,
    check: Check = "hash",
    allow: Iterable[PathLike] | None = None,
    root: PathLike = "/",
    limits: Limits = DEFAULT_LIMITS,
) -> Relocated:
    """Write a ref-CAR anew whose originals were moved or renamed.

    Everything but the records that change stays as it is, sections in their order. References to URLs stay.

    Args:
        source: a ref-CAR.
        out: a path, which is replaced whole or not at all, and which may be that of ``source``; or a binary file,
            for a CARv2 one that can seek, at its beginning.
        moves: new paths of files and folders by their old ones, all made absolute. Of a file below several of
            them, the longest counts.
        check: ``hash`` reads each leaf at its new place and compares it with its hash; ``size`` looks whether the
            file is there and long enough; ``none`` takes it as it is.
        allow: folders and files that may be read to check; None is the new paths in ``moves``.
        root: what paths in the records are relative to.
        limits: upper bounds for what the archive may claim.

    Raises:
        CorruptReferenceError: at a new place is not what should be there; nothing is written then.
        IntegrityError, CodecError, FormatError: the archive is damaged.
        BlockNotFoundError: by ``hash``, a node of the DAG is missing, so that its leaves are not known.
        FileNotFoundError: no reference leads to one of the old paths, or below it; nothing is written then.
        ValueError: a new path is outside ``root``, or ``out`` is one of the originals.

    >>> import io
    >>> from carv2.filestore import import_by_reference
    >>> archive, moved = io.BytesIO(), io.BytesIO()
    >>> _ = import_by_reference(__file__, archive)
    >>> report = relocate(archive.getvalue(), moved, {__file__: "/elsewhere.py"}, check="none")
    >>> report.moved_count, set(report.paths.values())
    (1, {'/elsewhere.py'})
    """
    if check not in _CHECKS:
        raise ValueError(f"check {check!r}, allowed: {', '.join(_CHECKS)}")
    mover = _Mover(moves, root)
    follower = Follower(mover.targets if allow is None else allow, root=root, max_size=limits.section)
    try:
        with CarReader(source, limits=limits) as car:
            leaves = leaves_in(car) if check == "hash" else NO_LEAVES
            checker = _Checker(LeafReader(follower), check)
            before, after = Spared(out), Spared(out)
            for part in parts_of(car, leaves):
                _refuse_originals(part.reference, mover, before, after, root)
                checker.look_at(part, mover)
            if mover.unused:
                raise FileNotFoundError(f"{min(mover.unused)}: no reference leads there; nothing was written")
            _write(car, out, mover, leaves)
    finally:
        follower.close()
    return Relocated(
        reference_count=checker.reference_count,
        moved_count=checker.moved_count,
        paths=dict(mover.paths),
        unchecked_count=checker.unchecked_count,
    )


def _refuse_originals(
    reference: FileReference | None, mover: _Mover, before: Spared, after: Spared, root: PathLike
) -> None:
    if reference is not None:
        before.refuse_named(reference, root)
        moved = mover.moved(reference)
        if moved is not None:
            after.refuse_named(moved, root)


def _write(car: CarReader, out: str | os.PathLike[str] | BinaryIO, mover: _Mover, leaves: Leaves) -> None:
    header, index = car.header, car.index
    with (
        writing(out) as file,
        CarWriter(
            file,
            car.roots,
            version=car.version,
            verify=False,
            index_codec=None if index is None else index.codec,
            identity=True,
            fully_indexed=header is not None and header.is_fully_indexed,
            limits=car.limits,
        ) as writer,
    ):
        for part in parts_of(car, leaves):
            moved = None if part.reference is None else mover.moved(part.reference)
            writer.write(part.cid, part.data if moved is None else encode(moved))


class _Mover:
    """Knows the new path of everything that moved."""

    def __init__(self, moves: Mapping[str, str], root: PathLike) -> None:
        self._root = os.path.abspath(os.fsdecode(root))
        self._moves: dict[str, str] = {_absolute(old): _absolute(new) for old, new in moves.items()}
        self.unused = set(self._moves)
        """Old paths that no reference leads to, or below."""
        self.paths: dict[str, str] = {}
        if any("\0" in new for new in self._moves.values()):
            raise ValueError("a new path has a NUL byte in it")
        self._lengths = sorted(set(map(len, self._moves)), reverse=True)
        self._known: tuple[str, str | None] = ("", None)  # the path in the last record, and what it becomes

    @property
    def targets(self) -> list[str]:
        """The new paths."""
        return list(self._moves.values())

    def moved(self, reference: FileReference) -> FileReference | None:
        """The new reference; None if it stays."""
        if reference.is_url:
            return None
        path, becomes = self._known
        if reference.path != path:
            becomes = self._new_path(reference)
            self._known = reference.path, becomes
        return None if becomes is None else FileReference(becomes, reference.offset, reference.size)

    def _new_path(self, reference: FileReference) -> str | None:
        old = reference.full_path(self._root)
        self.unused -= {path for path in self.unused if is_below(old, path)}
        above = self._moved_above(old)
        if above is None or "\0" in old:  # no file has such a name: none moved
            return None
        new = os.path.join(self._moves[above], old[len(above) :].lstrip("/")).rstrip("/")
        self.paths[old] = new
        return FileReference.of_path(new, 0, 0, self._root).path

    def _moved_above(self, old: str) -> str | None:
        """The longest of the old paths that is ``old`` or a folder above it."""
        for length in self._lengths:
            above = old[:length]
            if above in self._moves and (above.endswith("/") or old[length : length + 1] in {"", "/"}):
                return above
        return None


class _Checker:
    """Looks whether moved references lead to what they should."""

    def __init__(self, reader: LeafReader, check: Check) -> None:
        self._reader, self._check = reader, check
        self.reference_count = self.moved_count = self.unchecked_count = 0

    def look_at(self, part: Part, mover: _Mover) -> None:
        """Count a section, and check it if its reference moves."""
        if part.reference is None:
            return
        self.reference_count += 1
        moved = mover.moved(part.reference)
        if moved is None:
            return
        self.moved_count += 1
        if self._check == "hash" and part.leaf is not None:
            self._reader.read(part.leaf, moved, position=part.position)
        elif self._check == "size":
            self._reader.probe(part.leaf or part.cid, moved, position=part.position)
        else:
            self.unchecked_count += self._check == "hash"


def is_below(path: str, above: str) -> bool:
    """Whether ``above`` is ``path``, or a folder that it is in; both are absolute."""
    return path == above or path.startswith(above.rstrip("/") + "/")


def original_paths(source: SourceLike, *, root: PathLike = "/", limits: Limits = DEFAULT_LIMITS) -> set[str]:
    """The absolute paths of all files that a ref-CAR refers to."""
    base = os.path.abspath(os.fsdecode(root))
    with CarReader(source, limits=limits) as car:
        named = (part.reference for part in parts_of(car, NO_LEAVES))
        return {each.full_path(base) for each in named if each is not None and not each.is_url}


def _absolute(path: str) -> str:
    return os.path.abspath(path)

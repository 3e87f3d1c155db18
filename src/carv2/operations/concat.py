"""Several archives as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from carv2.cid import CID
from carv2.operations._assembly import Assembly, Layout, naming
from carv2.reader import CarReader
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence
    from typing import BinaryIO, TypeAlias

    from carv2._seen import Seen
    from carv2._source import SourceLike
    from carv2.cid import CIDLike

    RootsOf: TypeAlias = "Literal['first', 'all', 'none'] | Iterable[CIDLike]"


@dataclass(frozen=True, kw_only=True)
class ConcatReport:
    """What :func:`concat` wrote."""

    roots: tuple[CID, ...]
    block_count: int
    """Sections written."""
    block_bytes: int
    duplicate_count: int
    """Sections left out by ``deduplicate``."""


def concat(
    sources: Sequence[SourceLike],
    destination: str | os.PathLike[str] | BinaryIO,
    *,
    version: int = 2,
    roots: RootsOf = "first",
    deduplicate: bool = False,
    verify: bool = True,
    workers: int = 1,
    on_progress: Callable[[int], object] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    null_padding: bool = False,
) -> ConcatReport:
    """Write the sections of several archives, one behind the other, to a new archive.

    With ``version=1`` the bytes are those that go-car's ``car concat`` writes. With the shards of one archive as
    :func:`carv2.split` makes them, what was split is there again.

    Args:
        sources: archives of either version, at least one; each is opened by itself, one after the other.
        destination: a path, which is replaced whole or not at all and may be one of the sources, or any sink.
        version: of the new archive, 1 or 2; a CARv2 has an index.
        roots: those of the ``"first"`` archive, as go-car has it; ``"all"``, each once; ``"none"``; or these CIDs.
        deduplicate: write each CID once only; takes some 150 bytes of memory a block.
        verify: check the hash of each block.
        workers: processes to share the hashing among, for sources with a path.
        on_progress: called with numbers of bytes that were gone through; copying them is not counted.
        limits: upper bounds for what the files may claim.
        null_padding: take a zero-length section for the end of a source's payload; the padding is left out.

    Raises:
        ValueError: no sources.
        FormatError: one is damaged; ``archive`` of the error is its path.
        IntegrityError: ``verify``, and a block is not what its CID says; the same.

    >>> import carv2, io
    >>> one, two = (b"".join(carv2.iter_car([], [(carv2.CID.of_data(x), x)])) for x in (b"fish", b"lobster"))
    >>> sink = io.BytesIO()
    >>> concat([one, two], sink).block_count, [block.data for block in carv2.open(sink.getvalue())]
    (2, [b'fish', b'lobster'])
    """
    if not sources:
        raise ValueError("no archives to concatenate")
    chosen = _roots(sources, roots, limits)
    assembly = Assembly(chosen, Layout(version=version), limits=limits)
    once = _Once()
    keep = once.keep if deduplicate else None
    for source in sources:
        with naming(source), CarReader(source, limits=limits, null_padding=null_padding) as car:
            assembly.add(car, source, keep, verify=verify, workers=workers, on_progress=on_progress)
    assembly.write(destination)
    return ConcatReport(
        roots=chosen,
        block_count=assembly.block_count,
        block_bytes=assembly.block_bytes,
        duplicate_count=once.duplicate_count,
    )


class _Once:
    """Keeps the first section of each CID."""

    def __init__(self) -> None:
        self._seen: Seen = {}
        self.duplicate_count = 0

    def keep(self, cid: bytes, _size: int) -> bool:
        is_new = cid not in self._seen
        self.duplicate_count += not is_new
        self._seen[cid] = None
        return is_new


def _roots(sources: Sequence[SourceLike], roots: RootsOf, limits: Limits) -> tuple[CID, ...]:
    """The roots of the new archive."""
    if not isinstance(roots, str):
        return tuple(map(CID.of, roots))
    if roots not in {"first", "all", "none"}:
        raise ValueError(f"roots {roots!r}, allowed: 'first', 'all', 'none' or CIDs")
    found: dict[CID, None] = {}
    for source in sources[: {"first": 1, "all": len(sources), "none": 0}[roots]]:
        with naming(source), CarReader(source, limits=limits) as car:
            if roots == "first":
                return car.roots
            found.update(dict.fromkeys(car.roots))
    return tuple(found)

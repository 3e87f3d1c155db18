"""One archive as several that are small enough: to upload, to store, to carry."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from carv2._atomic import unlink, writing
from carv2.cid import CID
from carv2.header import PRAGMA, SIZE, CarV1Header
from carv2.multihash import IDENTITY, SHA2_256, encode
from carv2.operations._assembly import Assembly, Layout
from carv2.operations._tally import require_known_hashes, take
from carv2.operations.wrap import require_whole
from carv2.reader import CarReader
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO, TypeAlias

    from carv2._scan import Batch
    from carv2._source import SourceLike

    ShardRoots: TypeAlias = "Literal['first', 'all', 'none', 'placeholder']"

PLACEHOLDER = CID.of("bafkqaaa")
"""The identity CID of no bytes: a root for programs that want one, where there is none."""

_CAR = 0x0202
_EMPTY_INDEX = 6  # codec and count
_HASH_HEAD, _BUCKET_HEAD, _OFFSET = 12, 12, 8


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One of the archives that :func:`split` wrote.

    ``carv2.open(shard.path).sections()`` says where in the file its blocks are: ``data_position`` and ``size``.
    """

    path: str
    cid: CID
    """Of the whole file: codec ``car`` (0x0202), sha2-256, as upload services name a shard."""
    size: int
    """Of the file, in bytes."""
    roots: tuple[CID, ...]
    block_count: int
    block_bytes: int


def split(
    source: SourceLike,
    destination: str | os.PathLike[str],
    *,
    size: int,
    roots: ShardRoots = "first",
    version: int = 1,
    verify: bool = True,
    workers: int = 1,
    on_progress: Callable[[int], object] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    null_padding: bool = False,
) -> tuple[Shard, ...]:
    """Write the sections of an archive, in file order, to as few archives of at most ``size`` bytes as that takes.

    A shard ends where the next section would not fit any more, so the same archive gives the same shards. Their
    sections one behind the other are those of the archive (:func:`carv2.concat`): nothing is sorted, and a DAG
    may lie across shards. All of them are written, or none is left behind.

    Args:
        source: an archive of either version.
        destination: a folder that exists, or the front of a path: the files are named ``NAME-0001.car`` and so
            on, where NAME is ``destination`` or, in a folder, the source's own name without ``.car``.
        size: most bytes that a file may have, its header (and index) included.
        roots: ``"first"``: the first shard has those of the archive, the others have none; ``"all"``: all have
            them; ``"none"``; ``"placeholder"``: as ``"first"``, but the others have the root ``bafkqaaa``, for
            programs that refuse an archive without roots.
        version: of the shards, 1 or 2; a CARv2 has an index.
        verify: check the hash of each block.
        workers: processes to share the hashing among, for a source with a path.
        on_progress: called with numbers of bytes that were gone through; writing them is not counted.
        limits: upper bounds for what the file may claim.
        null_padding: take a zero-length section for the end of the payload; the padding is left out.

    Raises:
        ValueError: ``size`` has no room for the header or for one of the blocks; nothing is written.
        FileExistsError: one of the files is there already; nothing is written.
        FormatError: the archive is damaged; nothing is written.
        IntegrityError: ``verify``, and a block is not what its CID says; nothing is written.

    >>> import carv2, tempfile
    >>> archive = b"".join(carv2.iter_car([], [(carv2.CID.of_data(x), x) for x in (b"fish", b"lobster")]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     shards = split(archive, os.path.join(folder, "sea"), size=100)
    >>> [(os.path.basename(shard.path), shard.size) for shard in shards]
    [('sea-0001.car', 59), ('sea-0002.car', 62)]
    """
    with CarReader(source, limits=limits, null_padding=null_padding) as car:
        require_whole(car)
        headers = _Headers.of(car.roots, roots)
        plan = _Plan(headers, size, version, car.payload_position + car.first_section)
        tally = take(car, hashes=verify, workers=workers, on_batch=plan.add, on_progress=on_progress)
        require_known_hashes(car, tally)
        paths = _paths(source, destination, len(plan.ranges))
        return _write_all(_Writing(car, source, headers, version, limits), plan.ranges, paths)


@dataclass(frozen=True)
class _Headers:
    """The roots of the first shard, and of the others."""

    first: tuple[CID, ...]
    others: tuple[CID, ...]

    @classmethod
    def of(cls, found: tuple[CID, ...], policy: str) -> _Headers:
        others = {"first": (), "all": found, "none": (), "placeholder": (PLACEHOLDER,)}.get(policy)
        if others is None:
            raise ValueError(f"roots {policy!r}, allowed: 'first', 'all', 'none', 'placeholder'")
        return cls(() if policy == "none" else found, others)

    def __getitem__(self, number: int) -> tuple[CID, ...]:
        return self.others if number else self.first


@dataclass
class _Range:
    """Sections of one shard: file positions, and how large the shard is with them."""

    start: int
    stop: int
    size: int
    groups: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    """Hash codes and digest sizes that its index lists; -1 for the hash code alone."""


class _Plan:
    """Decides where a shard ends."""

    def __init__(self, headers: _Headers, size: int, version: int, start: int) -> None:
        if version not in {1, 2}:
            raise ValueError(f"CAR version {version}, supported: 1 and 2")
        self._limit, self._is_indexed = size, version == 2
        frame = len(PRAGMA) + SIZE + _EMPTY_INDEX if self._is_indexed else 0
        self._frames = [frame + len(CarV1Header(headers[number]).to_bytes()) for number in (0, 1)]
        if self._frames[0] > size:
            raise ValueError(f"size {size}: the header alone needs a shard of {self._frames[0]} bytes")
        self.ranges = [_Range(start, start, self._frames[0])]
        self._kinds: dict[bytes, tuple[int, int]] = {}

    def add(self, batch: Batch) -> None:
        """Give the sections of ``batch`` to shards."""
        current, limit = self.ranges[-1], self._limit
        position = batch.base + batch.start
        for cid, _, end in batch.entries:
            stop = batch.base + end
            more = stop - position
            if self._is_indexed:
                more += self._record(cid, current)
            if current.size + more > limit:
                current, more = self._next(position, stop, cid)
            current.size += more
            current.stop = position = stop

    def _next(self, position: int, stop: int, cid: bytes) -> tuple[_Range, int]:
        """A new shard for the section between two positions, and what that takes."""
        current = _Range(position, position, self._frames[1])
        more = stop - position
        if self._is_indexed:
            more += self._record(cid, current)
        if current.size + more > self._limit:
            needed = current.size + more
            name = CID.trusted(cid).short()
            why = f"the block {name} at byte {position} needs a shard of {needed} bytes"
            raise ValueError(f"size {self._limit}: {why}")
        self.ranges.append(current)
        return current, more

    def _record(self, cid: bytes, shard: _Range) -> int:
        """Bytes by which the index of ``shard`` grows with this CID."""
        code, digest_size = self._kind(cid)
        if code == IDENTITY:
            return 0
        size = digest_size + _OFFSET
        if (code, digest_size) not in shard.groups:
            size += _BUCKET_HEAD + (0 if (code, -1) in shard.groups else _HASH_HEAD)
            shard.groups |= {(code, -1), (code, digest_size)}
        return size

    def _kind(self, cid: bytes) -> tuple[int, int]:
        kind = self._kinds.get(cid[:-32])
        if kind is None:
            parts = CID.trusted(cid).parts
            kind = (parts.hash_code, parts.digest_size)
            if parts.digest_size == 32:
                self._kinds[cid[:-32]] = kind
        return kind


def _paths(source: SourceLike, destination: str | os.PathLike[str], count: int) -> list[str]:
    """The names of the files, none of which is taken; they sort like the shards."""
    prefix = os.fspath(destination)
    if os.path.isdir(prefix):
        prefix = os.path.join(prefix, _own_name(source))
    width = max(4, len(str(count)))
    paths = [f"{prefix}-{number:0{width}}.car" for number in range(1, count + 1)]
    for path in paths:
        if os.path.lexists(path):
            raise FileExistsError(17, os.strerror(17), path)
    return paths


def _own_name(source: SourceLike) -> str:
    if not isinstance(source, (str, os.PathLike)):
        return "shard"
    path: str = os.fspath(source)
    return os.path.basename(path).removesuffix(".car")


class _Digesting:
    """A sink that hashes and counts what goes through it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash = file, hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview, /) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def cid(self) -> CID:
        return CID.of_multihash(encode(SHA2_256, self._hash.digest()), codec=_CAR)


@dataclass(frozen=True)
class _Writing:
    """What all shards are made with."""

    car: CarReader
    source: SourceLike
    headers: _Headers
    version: int
    limits: Limits


def _write_all(made_with: _Writing, ranges: list[_Range], paths: list[str]) -> tuple[Shard, ...]:
    """Write each shard; where that fails, take those away that were written."""
    shards: list[Shard] = []
    try:
        for number, (path, part) in enumerate(zip(paths, ranges, strict=True)):
            shards.append(_write(made_with, number, path, part))
    except BaseException:
        for shard in shards:
            unlink(shard.path)
        raise
    return tuple(shards)


def _write(made_with: _Writing, number: int, path: str, part: _Range) -> Shard:
    roots, car = made_with.headers[number], made_with.car
    assembly = Assembly(roots, Layout(version=made_with.version), limits=made_with.limits)
    assembly.add_range(car, made_with.source, part.start, part.stop)
    with writing(path) as file:
        sink = _Digesting(file)
        assembly.write_to(sink)
    return Shard(
        path=path,
        cid=sink.cid(),
        size=sink.size,
        roots=roots,
        block_count=assembly.block_count,
        block_bytes=assembly.block_bytes,
    )

"""Whether an archive is what it claims to be: structure, hashes, roots, index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from carv2.errors import CarError, FormatError, TruncatedError
from carv2.multicodec import name_of
from carv2.operations._index_check import IndexCheck
from carv2.operations._tally import MAX_LISTED, Tally, take
from carv2.operations.problems import Problem
from carv2.reader import CarReader
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from carv2._scan import Batch
    from carv2._source import SourceLike


Profile: TypeAlias = Literal["dasl"]
"""A narrower format that an archive may be held against."""


class Watch(Protocol):
    """What else is to be made of the sections that :func:`verify` goes through."""

    def open(self, car: CarReader, /) -> None:
        """Called with the archive, before the first batch."""
        ...

    def add(self, batch: Batch, /) -> None:
        """Called with each batch of sections, in file order; large bodies may not be in it."""
        ...

    def finish(self) -> None:
        """Called if the pass came to the end of the payload; the archive is still open."""
        ...


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What :func:`verify` found. Nothing was taken on trust but what ``unverified`` counts."""

    version: int | None
    """None where not even that could be read."""
    block_count: int
    """Sections located, up to the fault if there is one."""
    verified_count: int
    """Blocks whose hash was made and is right."""
    unverified: Mapping[int, int]
    """Blocks that could not be checked, by hash code; never counted as verified."""
    index_checked: bool
    """The archive has an index, and it was held against the data in both directions."""
    problems: tuple[Problem, ...]
    """The first 1,000 of them, in the order of the checks."""
    problem_count: int

    @property
    def ok(self) -> bool:
        """No problem was found."""
        return self.problem_count == 0


def verify(
    source: SourceLike,
    *,
    workers: int = 1,
    allow_unknown_hash: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    null_padding: bool = False,
    profile: Profile | None = None,
    watch: Watch | None = None,
) -> Verification:
    """Check an archive from end to end; what is wrong with it is in the report, not raised.

    Checked are: the headers; that the payload is whole sections and nothing else; each block's hash; that each
    root is a block (or an identity CID); that the index lists each block where it is, and nothing more
    (identity CIDs may be listed or not, unless the header promises them); that without an index nothing follows
    the payload. A CARv2 without an index, and an archive without roots, are fine. What lies behind an index is
    not looked at, and whether links between blocks can be followed is not checked: see
    :func:`carv2.dag.verify_deep`.

    With ``profile="dasl"``, also that the archive is one that the DASL specification (https://dasl.ing/car.html)
    allows, as Bluesky's are: a CARv1, DASL CIDs, a header and dag-cbor blocks in their one form (DRISL). What is
    against it is a problem of the kind ``NotDasl``.

    Args:
        source: a path, bytes, a seekable binary file or an fsspec file.
        workers: processes to share the hashing among, for a file with a path.
        allow_unknown_hash: a block whose hash function is not available is no problem, only counted.
        limits: upper bounds for what the file may claim.
        null_padding: take a zero-length section for the end of the payload.
        profile: a narrower format that the archive is to be of: "dasl".
        watch: sees the sections in the same pass.

    Raises:
        OSError: the file cannot be read.
        ValueError: a ``profile`` that is not known.

    >>> import carv2
    >>> archive = b"".join(carv2.iter_car([], [(carv2.CID.of_data(b"fish"), b"fish")]))
    >>> verify(archive).ok, [problem.position for problem in verify(archive[:-1]).problems]
    (True, [58])
    >>> old = carv2.CID.of_data(b"fish", hash="sha2-512")
    >>> verify(b"".join(carv2.iter_car([], [(old, b"fish")])), profile="dasl").problems[0].message
    'not DASL: a section with the hash sha2-512 (0x13), allowed: sha2-256 (at byte 19)'
    """
    if profile not in {None, "dasl"}:
        raise ValueError(f"the profile {profile!r}, known: 'dasl'")
    try:
        car = CarReader(source, limits=limits, null_padding=null_padding)
    except CarError as error:
        return _unreadable(None, error)
    with car:
        try:
            _ = car.payload_header
        except CarError as error:
            return _unreadable(car.version, error)
        checks = _Checks(car, workers=workers, allow_unknown_hash=allow_unknown_hash)
        return checks.run([] if watch is None else [watch], profile)


def _unreadable(version: int | None, error: CarError) -> Verification:
    return Verification(
        version=version,
        block_count=0,
        verified_count=0,
        unverified={},
        index_checked=False,
        problems=(Problem.of(error),),
        problem_count=1,
    )


def _each(calls: Sequence[Callable[[Batch], object]]) -> Callable[[Batch], object] | None:
    if len(calls) <= 1:
        return next(iter(calls), None)

    def call(batch: Batch) -> None:
        for one in calls:
            one(batch)

    return call


class _Checks:
    """One verification, check by check."""

    def __init__(self, car: CarReader, *, workers: int, allow_unknown_hash: bool) -> None:
        self._car, self._workers, self._allow_unknown_hash = car, workers, allow_unknown_hash
        self._problems: list[Problem] = []
        self._count = 0

    def run(self, watches: list[Watch], profile: Profile | None) -> Verification:
        self._check_layout()
        index_check = self._open_index()
        if profile is not None:
            from carv2.operations._dasl import DaslWatch  # noqa: PLC0415  (codecs, for those who ask for it)

            watches = [*watches, DaslWatch(self._add)]
        for watch in watches:
            watch.open(self._car)
        calls: list[Callable[[Batch], object]] = [watch.add for watch in watches]
        if index_check is not None:
            calls.append(index_check.add)
        tally = take(self._car, hashes=True, keep_going=True, workers=self._workers, on_batch=_each(calls))
        if tally.fault is None:
            for watch in watches:
                watch.finish()
        self._check_blocks(tally)
        checked = False
        if index_check is not None and tally.fault is None:
            checked = index_check.fault is None
            for error in index_check.problems():
                self._add(Problem.of(error))
        return Verification(
            version=self._car.version,
            block_count=tally.block_count,
            verified_count=tally.verified,
            unverified=dict(tally.unverified),
            index_checked=checked,
            problems=tuple(self._problems),
            problem_count=self._count,
        )

    def _add(self, problem: Problem, *, times: int = 1) -> None:
        self._count += times
        if len(self._problems) < MAX_LISTED:
            self._problems.append(problem)

    def _check_layout(self) -> None:
        header, size = self._car.header, self._car.source.size
        if header is None:
            return
        if not header.has_index and size > header.data_end:
            why = f"{size - header.data_end} bytes behind the payload, though the header names no index"
            self._add(Problem.of(FormatError(why, position=header.data_end)))
        if header.has_index and header.index_offset < header.data_end:
            why = f"the index at {header.index_offset} overlaps the payload, which ends at {header.data_end}"
            self._add(Problem.of(FormatError(why, position=27 + 16)))

    def _open_index(self) -> IndexCheck | None:
        try:
            found = self._car.index
        except TruncatedError as error:
            if self._car.payload_end <= self._car.source.size:  # else the payload's own error says it
                self._add(Problem.of(error))
            return None
        except CarError as error:
            self._add(Problem.of(error))
            return None
        return None if found is None else IndexCheck(self._car, found)

    def _check_blocks(self, tally: Tally) -> None:
        for error in tally.mismatches:
            self._add(Problem.of(error))
        self._count += tally.mismatch_count - len(tally.mismatches)
        if tally.fault is not None:
            self._add(Problem.of(tally.fault))
        if not self._allow_unknown_hash:
            for code, many in tally.unverified.items():
                why = f"{many} blocks have the hash {name_of(code)} ({code:#x}), which is not available here"
                self._add(Problem(kind="UnknownHashError", message=why))
        if tally.fault is None:
            for root in self._car.roots:
                if bytes(root) in tally.missing_roots:
                    self._add(
                        Problem(kind="MissingRoot", message=f"the root {root.short()} is not a block", cid=root)
                    )

"""Pieces: archives that only the application knows how to get at, by their piece CIDs.

Source: Lotus' ``LotusMount``, whose URLs name a piece by its CID too.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, runtime_checkable

from carv2._source import FileSource, Source, open_source
from carv2.cid import CID
from carv2.dagstore.mounts._calling import (
    SequentialOnlyError,
    calling,
    describe,
    front_to_back_only,
    mount_error,
    within,
)
from carv2.dagstore.mounts._reading import CheckedSource, whole
from carv2.dagstore.mounts._urls import check_scheme, rest_of
from carv2.dagstore.mounts.protocol import Mount, MountStat

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from typing import TypeAlias

    from carv2.cid import CIDLike

    Piece: TypeAlias = "Source | BinaryIO | bytes | str | os.PathLike[str] | Iterable[bytes]"
    """The bytes of a piece: something to read anywhere, or front to back; a path; or an iterable of chunks."""

__all__ = ["PieceMount", "PieceMounts", "PieceResolver"]

_READ_SIZE = 1 << 20


@runtime_checkable
class PieceResolver(Protocol):
    """What an application registers: it finds the bytes of a piece, most often an unsealed copy in a sector.

    A piece is a CARv1, often with zeros behind it up to the size of the piece; the store reads it as it is. Where
    shards are indexed in other processes the resolver is pickled. It may be called by many threads at once.
    """

    @property
    def random_access(self) -> bool:
        """:meth:`open` gives something that can be read anywhere."""
        ...

    def stat(self, piece_cid: CID, /) -> MountStat:
        """Whether there is such a piece, its bytes, and whether it is ``ready``: some copy of it is unsealed."""
        ...

    def open(self, piece_cid: CID, /) -> Piece:
        """The piece's bytes, unsealed first if need be, which may take hours. Closed when they were read."""
        ...


@dataclass(frozen=True, slots=True, init=False)
class PieceMount(Mount):
    """A piece, in the role of Lotus' ``LotusMount``: ``piece://baga…``.

    Args:
        piece_cid: what names the piece.
        resolver: what finds its bytes; it is not part of the URL, nor of the mount's identity.
        scheme: of the URL, where it is another one.
    """

    piece_cid: CID
    kind: str
    """The scheme of its URL."""
    resolver: PieceResolver = field(repr=False, compare=False)

    def __init__(self, piece_cid: CIDLike, resolver: PieceResolver, *, scheme: str = "piece") -> None:
        object.__setattr__(self, "piece_cid", CID.of(piece_cid))
        object.__setattr__(self, "kind", check_scheme(scheme))
        object.__setattr__(self, "resolver", resolver)

    @property
    def url(self) -> str:
        """``piece://`` and the CID."""
        return f"{self.kind}://{self.piece_cid}"

    @property
    def random_access(self) -> bool:
        """What the resolver says."""
        with calling(self.url):
            return bool(self.resolver.random_access)

    def stat(self, *, timeout: float | None = None) -> MountStat:
        """What the resolver says."""
        with calling(self.url):
            return within(timeout, self._stat, self.url)

    def _stat(self) -> MountStat:
        try:
            found: object = self.resolver.stat(self.piece_cid)
        except FileNotFoundError:
            return MountStat.missing()
        if not isinstance(found, MountStat):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise mount_error(f"its resolver told a {type(found).__name__}, not a MountStat", self.url)
        return found

    def open(self) -> Source:
        """The piece, to be read anywhere; MountError if what its resolver gives cannot be, whatever it says."""
        if not self.random_access:
            raise front_to_back_only("its resolver says so", self.url)
        with calling(self.url):
            return _checked(self.resolver.open(self.piece_cid), self.url)

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """The piece's bytes from ``start`` on; as many as its resolver's ``stat`` says, if it does."""
        if self.random_access:
            with contextlib.suppress(SequentialOnlyError):  # from the opening, before there are any
                yield from Mount.chunks(self, start)
                return
        self.check_start(start)
        expected = self.stat()
        if not expected.exists:
            raise mount_error("there is nothing", self.url)
        with calling(self.url):
            opened = self.resolver.open(self.piece_cid)
            try:
                chunks = _behind(start, _front_to_back(opened))
                yield from whole(chunks, self.url, start=start, size=expected.size)
            finally:
                _close(opened)


@dataclass(frozen=True, slots=True)
class PieceMounts:
    """A factory of piece mounts, for a registry.

    >>> from carv2.dagstore.mounts import MountRegistry, MountStat
    >>> class Shelf:
    ...     random_access = True
    ...
    ...     def stat(self, piece_cid):
    ...         return MountStat(exists=True, size=4)
    ...
    ...     def open(self, piece_cid):
    ...         return b"fish"
    >>> registry = MountRegistry()
    >>> registry.register("lotus", PieceMounts(Shelf(), scheme="lotus"))
    >>> piece = registry.instantiate("lotus://bafkqaaa")
    >>> piece.open().read_at(1, 2)
    b'is'
    """

    resolver: PieceResolver
    scheme: str = "piece"

    def __call__(self, url: str) -> PieceMount:
        text = rest_of(url, self.scheme)
        try:
            cid = CID.of(text)
        except (ValueError, TypeError) as error:
            raise mount_error(f"no piece CID: {error}", url) from error
        return PieceMount(cid, self.resolver, scheme=self.scheme)


class _Opened:
    """What a resolver opened, and the source that was made of it."""

    def __init__(self, source: Source, opened: object) -> None:
        self._source, self._opened = source, opened
        self.read_at = source.read_at

    def close(self) -> None:
        self._source.close()
        _close(self._opened)


def _checked(opened: Any, url: str) -> CheckedSource:
    try:
        source = FileSource.open_regular(opened) if _is_path(opened) else _anywhere(opened, url)
        size = source.size
    except BaseException:
        _close(opened)
        raise
    return CheckedSource(_Opened(source, opened), url, size=size, chunk_size=source.chunk_size)


def _anywhere(opened: Any, url: str) -> Source:
    try:
        return open_source(opened)
    except (TypeError, ValueError) as error:
        raise front_to_back_only(describe(error), url) from error


def _behind(start: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks without the first ``start`` bytes."""
    for chunk in chunks:
        if start < len(chunk):
            yield chunk[start:]
        start = max(0, start - len(chunk))


def _is_path(opened: Any) -> bool:
    return isinstance(opened, str) or hasattr(opened, "__fspath__")


def _front_to_back(opened: Any) -> Iterator[bytes]:
    if isinstance(opened, bytes):
        yield opened
    elif _is_path(opened):
        source = FileSource.open_regular(opened)
        try:
            yield from _positions(source)
        finally:
            source.close()
    elif hasattr(opened, "read"):
        while chunk := opened.read(_READ_SIZE):
            yield bytes(chunk)
    elif hasattr(opened, "read_at"):
        yield from _positions(opened)
    else:
        yield from opened


def _positions(source: Source) -> Iterator[bytes]:
    position = 0
    while chunk := source.read_at(position, _READ_SIZE):
        yield bytes(chunk)
        position += len(chunk)


def _close(opened: object) -> None:
    close = getattr(opened, "close", None)
    if callable(close):
        close()

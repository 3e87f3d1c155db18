"""Out of an archive and into a tar file, without a folder in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from carv2.errors import UnixFSError
from carv2.unixfs._budget import Budget
from carv2.unixfs._safe_walk import ROOT_FILE, Rules, SafeWalk, Step, paths_apart
from carv2.unixfs.entry import MAX_DEPTH
from carv2.unixfs.extraction import opened, roots_of
from carv2.unixfs.names import check_name
from carv2.unixfs.path import names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from carv2._source import SourceLike
    from carv2.cid import CIDLike
    from carv2.unixfs._safe_walk import OnMissing, OnUnsafe, Skipped, Symlinks
    from carv2.unixfs._walk import Store
    from carv2.unixfs.entry import Entry

__all__ = ["tar_stream"]

_BLOCK, _RECORD = 512, 10240
_PAX: Final = 2  # tarfile.PAX_FORMAT
_FILE, _FOLDER, _SYMLINK = b"0", b"5", b"2"  # types of entries. Source: POSIX, pax
_MODES = {_FILE: 0o644, _FOLDER: 0o755, _SYMLINK: 0o777}
_PERMISSIONS = 0o777
_MAX_SECONDS = 1 << 40
"""Of a time that tar programs take; later and earlier ones are left out."""


def tar_stream(
    source: Store | SourceLike,
    *,
    roots: Iterable[CIDLike] | None = None,
    paths: str | Iterable[str] = (),
    prefix: str = "",
    mtime: int = 0,
    symlinks: Symlinks = "skip",
    on_missing: OnMissing = "skip",
    on_unsafe: OnUnsafe = "raise",
    portable: bool = False,
    root_file: str = ROOT_FILE,
    max_bytes: int | None = None,
    max_entries: int | None = None,
    max_depth: int = MAX_DEPTH,
    on_path: Callable[[str], object] | None = None,
    on_skip: Callable[[Skipped], object] | None = None,
) -> Iterator[bytes]:
    """What :func:`extract` would write, as a tar file (POSIX pax), piece by piece.

    The same archive gives the same bytes: owner 0 and no names of users; permissions 0o644 and 0o755 and the time
    ``mtime`` where the archive has none of its own. A file larger than 8 MiB goes out while it is read; if a block
    of it turns out to be missing then, that is an error, whatever ``on_missing`` says.

    Args:
        source: as in :func:`extract`; so are all others but these:
        prefix: directories to put everything in, as in ``"site/2025"``.
        mtime: seconds since 1970.
        on_path: called with the path of each file and symlink before it goes out.

    Raises:
        BlockNotFoundError: see above.
        UnsafePathError, BudgetError, PathNotFoundError, FormatError, IntegrityError: as :func:`extract`.

    >>> import carv2, io, tarfile
    >>> from carv2 import CID
    >>> root = CID.of_data(b"fish")
    >>> stream = b"".join(tar_stream(b"".join(carv2.iter_car([root], [(root, b"fish")])), prefix="sea"))
    >>> tarfile.open(fileobj=io.BytesIO(stream)).getnames()
    ['sea', 'sea/unknown']
    """
    rules = Rules(symlinks, on_missing, on_unsafe, portable, max_depth, root_file)
    above = [check_name(name, portable=portable).decode("utf-8", "surrogateescape") for name in names_of(prefix)]
    with opened(source) as (store, archive_size):
        starts = roots_of(store, roots)
        walk = SafeWalk(store, Budget(archive_size, max_bytes, max_entries), rules, on_skip)
        tar = _Tar(walk, "".join(f"{name}/" for name in above), mtime, on_path, may_repeat=len(starts) > 1)
        for at in range(len(above)):
            yield tar.head("/".join(above[: at + 1]), _FOLDER)
        for _, steps in walk.take(starts, paths_apart(paths)):
            for step in steps:
                yield from tar.entry(step)
        yield tar.end()


class _Tar:
    """Entries of a tar file."""

    def __init__(
        self,
        walk: SafeWalk,
        prefix: str,
        mtime: int,
        on_path: Callable[[str], object] | None,
        *,
        may_repeat: bool,
    ) -> None:
        from tarfile import TarInfo  # noqa: PLC0415  (15 ms, which only this needs)

        self._info = TarInfo
        self._walk, self._prefix, self._mtime, self._on_path = walk, prefix, mtime, on_path
        self._size = 0
        self._given: dict[str, str] | None = {} if may_repeat else None

    def entry(self, step: Step) -> Iterator[bytes]:
        """The bytes of what the step makes: none, if it makes nothing, or what there is already."""
        if step.do == "leave":
            return
        if self._is_repeated(step):
            return
        if step.do == "enter":
            yield self.head(self._prefix + step.path, _FOLDER, entry=step.entry)
        elif step.do == "symlink":
            self._say(step)
            yield self.head(self._prefix + step.path, _SYMLINK, entry=step.entry, target=step.target)
        else:
            yield from self._file(step)

    def _is_repeated(self, step: Step) -> bool:
        """Whether an earlier root had something at that path; two directories become one."""
        if self._given is None:
            return False
        earlier = self._given.get(step.path)
        self._given.setdefault(step.path, step.do)
        if earlier is not None and not earlier == step.do == "enter":
            self._walk.prune()
            self._walk.skip(step.path, "exists")
        return earlier is not None

    def _say(self, step: Step) -> None:
        if self._on_path is not None:
            self._on_path(step.path)

    def _file(self, step: Step) -> Iterator[bytes]:
        payload = self._walk.payload(step)
        if payload is None:
            return
        self._say(step)
        size, pieces = payload
        yield self.head(self._prefix + step.path, _FILE, entry=step.entry, size=size)
        left = size
        for piece in pieces:
            left -= len(piece)
            if left < 0:
                break
            yield piece
        if left:
            cid = None if step.entry is None else step.entry.cid
            raise UnixFSError(f"{size} bytes of payload declared, other than found", position=0, cid=cid)
        padding = bytes(-size % _BLOCK)
        self._size += size + len(padding)
        yield padding

    def head(
        self, path: str, kind: bytes, *, entry: Entry | None = None, size: int = 0, target: bytes = b""
    ) -> bytes:
        """The header of an entry."""
        info = self._info(path)
        info.type, info.size, info.mtime = kind, size, self._mtime
        info.mode = _MODES[kind]
        info.linkname = target.decode("utf-8", "surrogateescape")
        if entry is not None and entry.mode is not None and kind != _SYMLINK:
            info.mode = entry.mode & _PERMISSIONS
        if entry is not None and entry.mtime is not None and abs(entry.mtime[0]) < _MAX_SECONDS:
            seconds, nanoseconds = entry.mtime
            info.mtime = seconds
            if nanoseconds:
                info.pax_headers = {"mtime": _decimal(seconds, nanoseconds)}
        data = info.tobuf(format=_PAX, encoding="utf-8", errors="surrogateescape")
        self._size += len(data)
        return data

    def end(self) -> bytes:
        """What a tar file ends with: two empty blocks at least, to a multiple of 20."""
        return bytes(2 * _BLOCK + -(self._size + 2 * _BLOCK) % _RECORD)


def _decimal(seconds: int, nanoseconds: int) -> str:
    """The time as pax has it.

    >>> _decimal(5, 7), _decimal(-5, 500_000_000)
    ('5.000000007', '-4.500000000')
    """
    total = seconds * 1_000_000_000 + nanoseconds
    sign, (whole, rest) = "-" if total < 0 else "", divmod(abs(total), 1_000_000_000)
    return f"{sign}{whole}.{rest:09}"

"""The files of retrievals: their names, and what their headers say."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from carv2._atomic import unlink
from carv2._source import open_source
from carv2._storefile import StoreFile
from carv2.decoder import CarDecoder
from carv2.errors import CarError, FormatError, RetrievalNotFoundError, TruncatedError, UnfinalizedError
from carv2.header import PRAGMA, SIZE
from carv2.reader import CarReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2.cid import CID

__all__ = ["RetrievalRecord"]

SUFFIX = ".car"
MAX_ID = 200
"""Characters; with the suffix, less than the 255 that file systems take."""

_ID = re.compile(rf"[A-Za-z0-9_-][A-Za-z0-9_.-]{{0,{MAX_ID - 1}}}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalRecord:
    """A retrieval as the headers of its file have it; no block was looked at."""

    id: str
    path: str
    root: CID | None
    """None if the file does not say it."""
    state: Literal["partial", "finished", "damaged"]
    """``finished``: it has its index. Whether all blocks are there is for :meth:`Retrievals.check` to say."""
    size: int
    """Bytes of the file."""
    problem: str = ""
    """Why it is ``damaged``, in words."""


def checked_id(text: str) -> str:
    """The id, which can be the name of a file, and of none outside the folder.

    Raises:
        ValueError: it is not of letters of ASCII, digits and ``-_.``; or it is too long, or begins with a dot.

    >>> checked_id("1637000000000000000"), checked_id("photos_2021-11.v2")
    ('1637000000000000000', 'photos_2021-11.v2')
    """
    if not _ID.fullmatch(text):
        shown = text if len(text) <= MAX_ID else f"{text[:20]}..."
        why = f"1 to {MAX_ID} letters, digits, dashes, underscores and dots, with no dot in front"
        raise ValueError(f"{shown!r} cannot be the id of a retrieval: {why}")
    return text


def path_in(folder: str, id_: str) -> str:
    """Where the file of a retrieval is, or would be; ValueError for what is no id."""
    return os.path.join(folder, checked_id(id_) + SUFFIX)


def existing_in(folder: str, id_: str) -> str:
    """Where the file of a retrieval is.

    Raises:
        RetrievalNotFoundError: there is none.
        OSError: what is there is no file, or a link to one.
    """
    path = path_in(folder, id_)
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        raise RetrievalNotFoundError(id_) from None
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file, and so no retrieval", path)
    return path


def ids_in(folder: str) -> Iterator[str]:
    """The ids of all files in ``folder`` that have a name as retrievals do, in order; nothing else is touched."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    except FileNotFoundError:  # nothing was retrieved yet
        return
    for name in sorted(names):
        id_ = name.removesuffix(SUFFIX)
        if name.endswith(SUFFIX) and _ID.fullmatch(id_):
            yield id_


def record_of(path: str, id_: str) -> RetrievalRecord:
    """What the headers of the file say; a damaged file gives a record that tells so.

    Raises:
        FileNotFoundError: it is not there any more.
    """
    size = os.lstat(path).st_size
    try:
        root, finished = _headers_of(path)
    except FileNotFoundError:
        raise
    except (CarError, OSError) as error:
        return RetrievalRecord(id=id_, path=path, root=None, state="damaged", size=size, problem=str(error))
    return RetrievalRecord(id=id_, path=path, root=root, state="finished" if finished else "partial", size=size)


def remove(path: str) -> None:
    """Delete the file of a retrieval; LockedError if somebody is writing it."""
    file = StoreFile.resume(path)
    try:
        unlink(path)
    finally:
        file.close()


def _headers_of(path: str) -> tuple[CID, bool]:
    """The root, and whether there is an index."""
    try:
        with CarReader(path) as car:
            if car.header is None:
                raise FormatError("a CARv1; a retrieval is a CARv2", position=0)
            roots, end = car.roots, max(car.header.data_end, car.header.index_offset + car.header.has_index)
            if end > car.source.size:
                raise TruncatedError("archive", wanted=end, got=car.source.size, position=car.source.size)
            finished = car.header.has_index
    except UnfinalizedError:  # its writer died early, or was go-car, which promises nothing before the end
        roots, finished = _roots_behind_zeros(path), False
    if len(roots) != 1:
        raise FormatError(f"{len(roots)} roots; a retrieval has one", position=len(PRAGMA) + SIZE)
    return roots[0], finished


def _roots_behind_zeros(path: str) -> tuple[CID, ...]:
    decoder, at = CarDecoder(verify=False), len(PRAGMA) + SIZE
    with contextlib.closing(open_source(path)) as source:
        while decoder.roots is None and (chunk := source.read_at(at, 4096)):
            try:
                decoder.feed(chunk)
            except FormatError:
                if decoder.roots is None:
                    raise
            at += len(chunk)
    if decoder.roots is None:
        decoder.finish()
    return decoder.roots or ()

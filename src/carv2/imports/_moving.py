"""An import whose original moved: the archive and the labels that say where it is now."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from carv2._atomic import draft_name, unlink
from carv2.errors import StateError
from carv2.filestore.relocate import relocate
from carv2.filestore.store import FileStore
from carv2.imports._archives import examine, open_archive
from carv2.imports._sampling import first_unreadable
from carv2.imports.record import CAR_PATH, FILENAME, OURS, Import

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

    from carv2.filestore.relocate import Check
    from carv2.units import Limits

SAMPLES = 16
"""Leaves that are read by the new labels before anything is replaced."""


@contextlib.contextmanager
def relocated(
    entry: Import, moves: Mapping[str, str], *, check: Check, limits: Limits
) -> Generator[tuple[dict[str, str], str | None]]:
    """The labels that the import is to get, and the path of the archive that is to take the place of its own.

    The latter is None where the archive stays, and is gone at the end if nobody took it.
    """
    if not entry.car_path or not entry.filename:
        raise StateError(f"import {entry.id} has no archive, or no original: import the original again")
    absolute = {os.path.abspath(old): os.path.abspath(new) for old, new in moves.items()}
    filename = moved_path(entry.filename, absolute)
    if entry.car_owner != OURS:
        yield _of_users_archive(entry, absolute, limits), None
        return
    labels = {**entry.labels, FILENAME: filename}
    used = _moves_of_references(entry, absolute, limits)
    if not used and filename == entry.filename:
        raise _nothing_moves(entry, *absolute)
    if not used:  # the archive was rewritten before: the record follows
        if check == "hash":
            _try_out(Import.of(entry.id, labels), limits)
        yield labels, None
        return
    draft = draft_name(os.path.dirname(os.path.abspath(entry.car_path)))
    try:
        done = relocate(entry.car_path, draft, used, check=check, limits=limits)
        _refuse_outside(done.paths.values(), filename)
        if check == "hash":
            _try_out(Import.of(entry.id, {**labels, CAR_PATH: draft}), limits)
        yield labels, draft
    finally:
        unlink(draft)


def _moves_of_references(entry: Import, moves: Mapping[str, str], limits: Limits) -> dict[str, str]:
    """The moves that change a reference; ValueError if another one does not even concern the record."""
    store = open_archive(entry, limits=limits)
    with store:
        assert isinstance(store, FileStore)  # ours
        paths = {found.full_path() for _, found in store.references() if not found.is_url}
    used: dict[str, str] = {}
    for old, new in moves.items():
        if any(_is_at(path, old) for path in paths):
            used[old] = new
        elif not _is_at(entry.filename or "", old):
            raise _nothing_moves(entry, old)
    return used


def _is_at(path: str, old: str) -> bool:
    return path == old or path.startswith(old.rstrip("/") + "/")


def moved_path(path: str, moves: Mapping[str, str]) -> str:
    """Where ``path`` is after ``moves`` of files and folders, of which the longest counts.

    >>> moved_path("/data/fish/one", {"/data": "/old", "/data/fish": "/sea"}), moved_path("/a", {"/b": "/c"})
    ('/sea/one', '/a')
    """
    above = path
    while above not in moves:
        if above == (folder := os.path.dirname(above)):
            return path
        above = folder
    return os.path.join(moves[above], path[len(above) :].lstrip("/")).rstrip("/")


def _of_users_archive(entry: Import, moves: Mapping[str, str], limits: Limits) -> dict[str, str]:
    """Labels of an archive that was taken in where it is, and is elsewhere now."""
    path = moved_path(entry.car_path or "", moves)
    if path == entry.car_path:
        raise _nothing_moves(entry, *moves)
    labels = {**entry.labels, CAR_PATH: path, FILENAME: moved_path(entry.filename or "", moves)}
    store = examine(Import.of(entry.id, labels), thorough=True, limits=limits)
    if store is not None:
        store.close()
    return labels


def _nothing_moves(entry: Import, *olds: str) -> ValueError:
    return ValueError(f"nothing of import {entry.id} is at {', '.join(olds)}: it is of {entry.filename}")


def _refuse_outside(paths: Iterable[str], filename: str) -> None:
    """An import reads its original and nothing else: what moves must stay part of that."""
    for path in paths:
        if not _is_at(path, filename):
            why = "an import reads nothing else; move the original as a whole, or import what is there now"
            raise ValueError(f"{path} is not in {filename}, where the original would be: {why}")


def _try_out(entry: Import, limits: Limits) -> None:
    store = examine(entry, thorough=True, limits=limits)
    if store is None:
        return
    with store:
        lost = first_unreadable(store, store.roots[0], SAMPLES)
    if lost is not None:
        raise StateError(f"import {entry.id} would not work with its original at {entry.filename}: {lost.reason}")

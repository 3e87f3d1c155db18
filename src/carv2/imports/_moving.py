"""An import whose original moved: the archive and the labels that say where it is now."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from carv2._atomic import draft_name, unlink
from carv2.errors import StateError
from carv2.filestore.relocate import relocate
from carv2.imports._archives import examine
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
    draft = draft_name(os.path.dirname(os.path.abspath(entry.car_path)))
    try:
        done = relocate(entry.car_path, draft, absolute, check=check, limits=limits)
        if not done.moved_count and filename == entry.filename:
            raise _nothing_moves(entry)
        _refuse_outside(done.paths.values(), filename)
        labels = {**entry.labels, FILENAME: filename}
        if check == "hash":
            _try_out(Import.of(entry.id, {**labels, CAR_PATH: draft}), limits)
        yield labels, draft if done.moved_count else None
    finally:
        unlink(draft)


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
        raise _nothing_moves(entry)
    labels = {**entry.labels, CAR_PATH: path, FILENAME: moved_path(entry.filename or "", moves)}
    store = examine(Import.of(entry.id, labels), thorough=True, limits=limits)
    if store is not None:
        store.close()
    return labels


def _nothing_moves(entry: Import) -> ValueError:
    return ValueError(f"nothing of import {entry.id} is at an old path that was named: it is of {entry.filename}")


def _refuse_outside(paths: Iterable[str], filename: str) -> None:
    """An import reads its original and nothing else: what moves must stay part of that."""
    for path in paths:
        if path != filename and not path.startswith(filename.rstrip("/") + "/"):
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

"""Which command mends an archive that another command failed on: one table, by the class of the error."""

from __future__ import annotations

import itertools
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from carv2 import errors
from carv2.cli.typed import quoted
from carv2.errors import (
    CarError,
    CodecError,
    CorruptReferenceError,
    IndexFormatError,
    IndexMismatchError,
    IntegrityError,
    NoIndexError,
    TruncatedError,
    UnexpectedBlockError,
    UnfinalizedError,
    UnknownHashError,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable


class Repair(NamedTuple):
    """What is gained, and the command; ``{}`` stands for the archive, ``{made}`` for what it makes."""

    purpose: str
    command: str
    made: str = ""


_SALVAGE = Repair("To save what is whole", "carv2 salvage {} {made}", "saved.car")
_INDEX = Repair("To give it a fresh index", "carv2 index {} {made}", "indexed.car")

REPAIRS: dict[type[CarError], Repair | None] = {
    UnfinalizedError: Repair("To finish it", "carv2 recover --apply {}"),
    TruncatedError: _SALVAGE,
    IntegrityError: _SALVAGE,
    IndexFormatError: _INDEX,
    IndexMismatchError: _INDEX,
    NoIndexError: _INDEX,
    CodecError: None,  # a block is what its CID names, and makes no sense: nothing can mend that
    UnknownHashError: None,
    UnexpectedBlockError: None,
    CorruptReferenceError: None,  # the files that it refers to are the trouble
}
"""The class next above an error's own counts."""

_MENDING = {"salvage", "recover", "index", "index create"}
_BEGINNINGS = (b"eroots", b"gversion")
"""One of these stands in the first bytes of every archive, and of no index."""

_GLANCE = 16 << 20
"""Bytes of an archive whose index is held against it for a hint; of a larger one `verify` has to tell."""


def repair_of(name: str, error: CarError) -> str:
    """The line that says what mends the archive on which the command ``name`` failed; or nothing."""
    archive = getattr(error, "archive", None)
    repair = _repair_for(type(error))
    is_elsewhere = getattr(error, "position", 1) == 0  # no section begins there: it is not about the archive
    if repair is None or name in _MENDING or is_elsewhere or not _is_archive(archive):
        return ""
    return _told(repair, str(archive))


def repair_of_kinds(archive: str, kinds: Iterable[str]) -> str:
    """The same for problems that were found together, by the names of their errors: to save blocks goes first."""
    found = {_repair_for(getattr(errors, kind, CarError)) for kind in kinds}
    repair = next((repair for repair in (_SALVAGE, _INDEX) if repair in found), None)
    return "" if repair is None or not _is_archive(archive) else _told(repair, archive)


def hint_at_index(archive: object, args: argparse.Namespace) -> None:
    """Say on standard error, where blocks were not found by the index of ``archive``, if that may be its fault."""
    if getattr(args, "rebuild_index", False) or getattr(args, "ref", False) or not _is_archive(archive):
        return
    name = str(archive)
    is_wrong = _has_wrong_index(name)
    if is_wrong is False:
        return
    tells = "is wrong: what is missing may be there" if is_wrong else f"may be wrong: carv2 verify {quoted(name)}"
    from carv2.cli import references  # noqa: PLC0415  (what follows is for the few)

    references.complain(name, f"the index {tells}")
    print(_told(_INDEX, name), file=sys.stderr)


def _has_wrong_index(name: str) -> bool | None:
    """None where it is not known, as that would take a while."""
    from carv2.operations._index_check import IndexCheck  # noqa: PLC0415
    from carv2.reader import CarReader  # noqa: PLC0415

    try:
        with CarReader(name) as car:
            if car.index is None:
                return False
            if car.source.size > _GLANCE:
                return None
            check = IndexCheck(car, car.index)
            for batch in car.batches(bodies=False):
                check.add(batch)
            return any(True for _ in check.problems())
    except (CarError, OSError):  # not sound: a new index is not what it needs
        return False


def _repair_for(error: type[CarError]) -> Repair | None:
    return next((REPAIRS[cls] for cls in error.__mro__ if cls in REPAIRS), None)


def _told(repair: Repair, archive: str) -> str:
    return f"{repair.purpose}: {repair.command.format(quoted(archive), made=_free(repair.made))}"


def _free(name: str) -> str:
    """The name, or one like it, of no file that is there: the archive itself may be called so."""
    stem, suffix = os.path.splitext(name)
    names = itertools.chain([name], (f"{stem}-{number}{suffix}" for number in itertools.count(2)))
    return next(name for name in names if not os.path.lexists(name))


def _is_archive(name: object) -> bool:
    """Whether it is a file of that name, which can be typed, and begins as an archive does."""
    if not isinstance(name, str) or not name.isprintable() or name.startswith("-") or not os.path.isfile(name):
        return False
    try:
        with open(name, "rb") as file:
            beginning = file.read(32)
    except OSError:
        return False
    return any(mark in beginning for mark in _BEGINNINGS)

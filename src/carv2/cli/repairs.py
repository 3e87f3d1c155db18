"""Which command mends an archive that another command failed on: one table, by the class of the error."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from carv2 import errors
from carv2._varint import decode
from carv2.cli.typed import line_of, quoted
from carv2.errors import (
    CarError,
    CodecError,
    CorruptReferenceError,
    FormatError,
    IndexFormatError,
    IndexMismatchError,
    IntegrityError,
    LimitError,
    NoIndexError,
    TruncatedError,
    UnexpectedBlockError,
    UnfinalizedError,
    UnknownHashError,
    VersionError,
)
from carv2.operations.problems import Problem

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

_DAMAGE = {FormatError, TruncatedError, VersionError, LimitError}
"""What a file brings about whose headers or lengths are damaged; and one that never was an archive."""

_NEAR = 4 << 20
"""Bytes that are searched for a whole block, to tell one from the other."""

_OTHER_FILES = {"compile", "imports load", "detach-index list"}
"""Commands that read something else than archives."""

_GLANCE = 16 << 20
"""Bytes of an archive whose index is held against it for a hint; of a larger one `verify` has to tell."""


def repair_of(name: str, error: CarError) -> str:
    """The line that says what mends the archive on which the command ``name`` failed; or nothing."""
    archive = getattr(error, "archive", None)
    repair, position = _repair_for(type(error)), getattr(error, "position", 1)
    if name in _MENDING or not _is_file(archive):
        return ""
    # at byte 0 no section begins: it is not about the archive
    if repair is not None and position != 0 and _is_archive(archive):
        return _told(repair, str(archive))
    return _told(_SALVAGE, str(archive)) if _is_damaged(str(archive), Problem.of(error)) else ""


def already(error: VersionError, purpose: str = "", *command: str) -> CarError:
    """What to say of an archive that has the version already that it was to get, and what to type instead, if
    anything.
    """
    if error.position or error.found not in {1, 2}:
        return error
    told = CarError(f"it is a CARv{error.found} already")
    told.archive = error.archive
    if purpose and _is_file(error.archive):
        told.remedy = f"{purpose}: {line_of(command)}"  # type: ignore[attr-defined]
    return told


def repair_of_problems(archive: str, problems: Iterable[Problem]) -> str:
    """The same for problems that were found together: to save blocks goes first."""
    if not _is_file(archive):
        return ""
    several = list(problems)
    found = {_repair_for(_class_of(problem)) for problem in several}
    repair = next((repair for repair in (_SALVAGE, _INDEX) if repair in found), None)
    if repair is not None and _is_archive(archive):
        return _told(repair, archive)
    is_damaged = any(_is_damaged(archive, problem) for problem in several)
    return _told(_SALVAGE, archive) if is_damaged else ""


def text_of(name: str, archive: object, problem: Problem) -> str:
    """The problem's own text, unless it is that the file which the command ``name`` read is no archive at all."""
    kind = _class_of(problem)
    if kind is TruncatedError and problem.position == 0 and archive is not None:
        return "it is empty" if archive in {"-", "standard input"} else "the file is empty"
    if kind not in _DAMAGE or name in _OTHER_FILES or not _is_file(archive):
        return problem.message
    beginning = _beginning_of(str(archive))
    if _may_be_header(beginning) or _has_block(str(archive), 0):
        return problem.message
    is_text = beginning[:4].isascii() and beginning[:4].decode("ascii").isprintable()
    shown = repr(beginning[:16].decode("ascii", "replace")) if is_text else beginning[:8].hex()
    return f"not a CAR archive: it begins with {shown} (at byte 0)"


def _class_of(problem: Problem) -> type[CarError]:
    return getattr(errors, problem.kind, CarError)


def _is_damaged(archive: str, problem: Problem) -> bool:
    """Whether it is one of damaged headers or lengths: then there are whole blocks behind it."""
    kind, position = _class_of(problem), problem.position or 0
    if kind not in _DAMAGE or (kind is LimitError and not problem.message.startswith("header of ")):
        return False
    if position == 0 and _has_header(archive):
        return False
    return _has_block(archive, 0 if kind is TruncatedError else position)  # whose position is the file's end


def _may_be_header(beginning: bytes) -> bool:
    """Whether a file that begins so may be an archive: a length, then a map, which may have a tag, or null."""
    if any(mark in beginning for mark in _BEGINNINGS):
        return True
    try:
        size, start = decode(beginning, 0, len(beginning), position=0)
    except FormatError as error:
        return isinstance(error, TruncatedError)
    item = beginning[start : start + 1]
    return size > 0 and (not item or item[0] >> 5 in {5, 6} or item in {b"\xf6", b"\xf7"})


def _has_header(name: str) -> bool:
    """Whether the headers are sound, whatever a command has against them."""
    from carv2.reader import CarReader  # noqa: PLC0415

    try:
        with CarReader(name) as car:
            return bool(car.first_section)
    except (CarError, OSError):
        return False


def _has_block(name: str, position: int) -> bool:
    """Whether a whole block, with the right hash, stands not far behind ``position``."""
    from carv2._source import open_source  # noqa: PLC0415
    from carv2.operations.salvage import next_section  # noqa: PLC0415
    from carv2.units import DEFAULT_LIMITS  # noqa: PLC0415

    try:
        with contextlib.closing(open_source(name)) as source:
            stop = min(source.size, position + _NEAR)
            return next_section(source, position, stop, limits=DEFAULT_LIMITS) < stop
    except OSError:
        return False


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


def _is_file(name: object) -> bool:
    """Whether it is a file of that name, which can be typed."""
    return isinstance(name, str) and name.isprintable() and not name.startswith("-") and os.path.isfile(name)


def _is_archive(name: object) -> bool:
    """The same, and it begins as an archive does."""
    return _is_file(name) and any(mark in _beginning_of(str(name)) for mark in _BEGINNINGS)


def _beginning_of(name: str) -> bytes:
    try:
        with open(name, "rb") as file:
            return file.read(32)
    except OSError:
        return b""

"""The check of all imports, on opening them: Lotus' messages, and more behind them.

Source: ``imports.Manager`` of Lotus, whose messages these are.
"""

from __future__ import annotations

import logging
import os
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from carv2.errors import CarError, ImportNotFoundError
from carv2.imports._archives import examine
from carv2.imports._sampling import Unreadable, first_unreadable
from carv2.imports.record import OURS
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carv2.imports.record import Import

__all__ = ["Problem", "SanityReport"]

LOGGER = logging.getLogger("carv2.imports")

CHECKING = "sanity checking imports"
NOT_LISTED = "failed to enumerate imports on initialization"
NOT_READ = "failed to query metadata for import; skipping"
NO_PATH = "import lacks carv2 path; import will not work; please reimport"
BROKEN = "import has missing/broken carv2; please reimport"
FINE = "import ok"
DONE = "sanity check completed"
"""The messages. Source: ``imports.Manager`` of Lotus, word for word."""

STRAYS = "archives without an import in the folder of the imports"
"""A message of ours."""
MAX_NAMES = 100
"""Archives that are named in it."""

FIELDS = (
    *("import_id", "source", "root", "original", "size", "error", "reason", "status", "repair"),
    *("count", "names", "total", "broken"),
)
"""What the records of the log may have as attributes."""

SAMPLES = 16
"""Leaves of each import that are read in their originals, if they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An import that does not work."""

    id: int
    message: str
    """As in the log."""
    reason: str
    """What was found, in words."""
    repair: str = ""
    """The command that puts it right, where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SanityReport:
    """What a check of all imports found."""

    total: int = 0
    """Imports that there are."""
    broken: int = 0
    """Imports of which the archive does not work, or the originals do not."""
    skipped: int = 0
    """Imports whose record could not be read; they are not among the broken ones."""
    under_way: int = 0
    """Imports that were being made meanwhile."""
    problems: tuple[Problem, ...] = ()
    """Of those that are broken or were skipped."""
    strays: tuple[str, ...] = ()
    """Names of archives of ours that no import has; see :meth:`carv2.imports.ImportsManager.strays`."""
    failure: str = ""
    """Why the imports could not be listed; then none was looked at."""

    @property
    def ok(self) -> bool:
        """Whether there is nothing to say."""
        return not (self.problems or self.strays or self.failure)


class Imports(Protocol):
    """What is checked: an :class:`carv2.imports.ImportsManager`."""

    def ids(self) -> Sequence[int]: ...
    def info(self, id_: int, /) -> Import: ...
    def is_under_way(self, entry: Import, /) -> bool: ...
    def strays(self) -> Sequence[str]: ...


def check_imports(
    imports: Imports,
    *,
    samples: int = 0,
    limits: Limits = DEFAULT_LIMITS,
    on_progress: Callable[[int], object] | None = None,
) -> SanityReport:
    """Look at each import, and log what was found.

    An archive is fine if it can be opened, its header and its index are sound, its only root is the one of the
    label, and it has that root's block. One without an index is gone through from section to section, unless it
    has more than 64 MiB. With ``samples``, that one too; and so many leaves of each import, drawn by chance, are
    read in the originals and hashed. One import that fails never stops the others.

    The logger is ``carv2.imports``. Records of an import have the attributes ``import_id``, ``source``, ``root``
    and ``original``, with ``size`` (bytes of the archive) if it is fine, else with ``reason``, with ``status``
    where a leaf could not be had, and with ``repair`` where a command puts it right; one of an import whose record
    cannot be read has ``error``. Archives that no import has are one record with ``count``, ``names`` (the first
    100) and ``repair``. The last one has ``total`` and ``broken``.

    ``on_progress`` is called with 1 after each import.
    """
    LOGGER.info(CHECKING)
    try:
        ids = imports.ids()
    except (CarError, OSError) as error:
        LOGGER.warning(NOT_LISTED, extra={"error": str(error)})
        return SanityReport(failure=str(error))
    check = _Check(imports, samples, limits)
    for id_ in ids:
        check.look_at(id_)
        if on_progress is not None:
            on_progress(1)
    strays = tuple(imports.strays())
    if strays:
        names = list(strays[:MAX_NAMES])
        repair = f"carv2 imports remove {' '.join(name[:-4] for name in names)}"
        LOGGER.warning(STRAYS, extra={"count": len(strays), "names": names, "repair": repair})
    LOGGER.info(DONE, extra={"total": len(ids), "broken": check.broken})
    return SanityReport(
        total=len(ids),
        broken=check.broken,
        skipped=check.skipped,
        under_way=check.under_way,
        problems=tuple(check.problems),
        strays=strays,
    )


@dataclass
class _Check:
    imports: Imports
    samples: int
    limits: Limits
    problems: list[Problem] = field(default_factory=list[Problem])
    broken: int = 0
    skipped: int = 0
    under_way: int = 0

    def look_at(self, id_: int) -> None:
        try:
            entry = self._settled(id_)
        except ImportNotFoundError:  # removed meanwhile
            return
        except (CarError, OSError) as error:
            LOGGER.warning(NOT_READ, extra={"import_id": id_, "error": str(error)})
            self.skipped += 1
            self.problems.append(Problem(id=id_, message=NOT_READ, reason=str(error)))
            return
        if entry is None:
            self.under_way += 1
        elif entry.car_path is None:
            self._blame(entry, NO_PATH, "no archive is recorded")
        else:
            self._look_into(entry)

    def _settled(self, id_: int) -> Import | None:
        """The import as it will stay; None if somebody is making it."""
        entry = self.imports.info(id_)
        if entry.root is not None:
            return entry
        return None if self.imports.is_under_way(entry) else self.imports.info(id_)  # which may be done by now

    def _look_into(self, entry: Import) -> None:
        try:
            lost = self._examine(entry)
            size = os.path.getsize(str(entry.car_path))
        except (CarError, OSError, ValueError) as error:
            if self._is_there(entry.id):
                self._blame(entry, BROKEN, str(error), _repair(entry))
            return
        if lost is not None:
            self._blame(entry, BROKEN, lost.reason, _repair(entry, lost.status), status=lost.status)
        else:
            LOGGER.info(FINE, extra={**_context(entry), "size": size})

    def _examine(self, entry: Import) -> Unreadable | None:
        store = examine(entry, thorough=self.samples > 0, limits=self.limits)
        if store is None:
            return None
        with store:
            return first_unreadable(store, store.roots[0], self.samples)

    def _is_there(self, id_: int) -> bool:
        """Whether the import was not removed while it was looked at."""
        try:
            self.imports.info(id_)
        except ImportNotFoundError:
            return False
        except (CarError, OSError):
            pass
        return True

    def _blame(self, entry: Import, message: str, reason: str, repair: str = "", **more: object) -> None:
        self.broken += 1
        self.problems.append(Problem(id=entry.id, message=message, reason=reason, repair=repair))
        if repair:
            more["repair"] = repair
        LOGGER.warning(message, extra={**_context(entry), "reason": reason, **more})


def _repair(entry: Import, status: str = "") -> str:
    """The command that puts an import right, as far as one can."""
    if is_interrupted(entry):
        return f"carv2 imports remove {entry.id}"
    has_moved = status in {"no-file", "changed", "error"}
    if entry.car_owner != OURS:
        has_moved = not os.path.lexists(entry.car_path or "")
    if has_moved and entry.filename:
        return f"carv2 imports relocate {entry.id} {shlex.quote(entry.filename)}=NEW"
    return ""


def is_interrupted(entry: Import) -> bool:
    """Whether an import that nobody is at work on now was begun and not finished."""
    return entry.root is None and entry.car_owner == OURS and not entry.error


def _context(entry: Import) -> dict[str, object]:
    labels = entry.labels
    return {
        "import_id": entry.id,
        "source": labels.get("source", ""),
        "root": labels.get("root", ""),
        "original": labels.get("filename", ""),
    }

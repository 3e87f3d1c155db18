"""Archives in the folder of the imports that no record knows: a catalogue was lost, or a process killed."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Protocol

from carv2._locks import is_locked
from carv2.errors import CarError, ImportNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carv2.imports.record import Import

_NAME = re.compile(r"(0|[1-9][0-9]{0,18})\.car", re.ASCII)


class Records(Protocol):
    """Where the records are: an :class:`carv2.imports.ImportsManager`."""

    def ids(self) -> Sequence[int]: ...
    def info(self, id_: int, /) -> Import: ...
    def list(self) -> Sequence[Import]: ...


def strays_in(folder: str, records: Records) -> list[str]:
    """Names of such archives, in order; none that somebody is writing, and none that a label leads to."""
    try:
        names = sorted(name for name in os.listdir(folder) if _NAME.fullmatch(name))
    except OSError:
        return []
    known = set(records.ids())  # after the names: an import gets its record with its archive
    suspects = [name for name in names if int(name[:-4]) not in known]
    if not suspects:
        return []
    taken = {_place(entry.car_path) for entry in records.list() if entry.car_path}
    return [name for name in suspects if _is_stray(os.path.join(folder, name), records, taken)]


def is_stray(path: str, records: Records) -> bool:
    """The same for one, ``path``."""
    if not _NAME.fullmatch(os.path.basename(path)):
        return False
    taken = {_place(entry.car_path) for entry in records.list() if entry.car_path}
    return _is_stray(path, records, taken)


def _is_stray(path: str, records: Records, taken: set[str]) -> bool:
    if not os.path.isfile(path) or is_locked(path) or _place(path) in taken:
        return False
    try:
        records.info(int(os.path.basename(path)[:-4]))
    except ImportNotFoundError:
        return True
    except CarError:
        pass
    return False  # its record came meanwhile


def _place(path: str) -> str:
    try:
        return os.path.realpath(path)
    except ValueError:  # a zero byte
        return path

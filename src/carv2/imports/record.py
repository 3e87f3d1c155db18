"""The record of an import: a number and labels, as Lotus keeps them.

Source: Lotus' ``imports`` package, for the labels and what they hold.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from carv2.cid import CID
from carv2.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Import"]

SOURCE, ROOT, FILENAME, CAR_PATH, CAR_OWNER = "source", "root", "filename", "car_path", "car_owner"
"""Keys of the labels. Source: go-fil-markets' users, Lotus' ``imports`` package."""

UNKNOWN, IMPORTED = "unknown", "import"
"""Values of :data:`SOURCE`: of an import that was begun, and of one that was done."""

OURS, THEIRS = "importmgr", "user"
"""Values of :data:`CAR_OWNER`: an archive that goes with its import, and one that is the user's own."""


def distrusted(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels of somebody else's, without the claim that an archive is ours to follow and to delete.

    >>> distrusted({"car_path": "/data/fish.car", "car_owner": "importmgr"})["car_owner"]
    'user'
    """
    return {key: THEIRS if (key, value) == (CAR_OWNER, OURS) else value for key, value in labels.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """An import; what a label says is None where there is no such label.

    >>> Import.of(7, {"source": "import", "filename": "/data/fish"}).filename
    '/data/fish'
    """

    id: int
    """Nanoseconds since 1970 when it was begun, more or less: no two are the same, and later ones are larger."""
    source: str | None
    """Who made it: ``unknown`` until it is done, ``import``; Lotus also has ``import-local``."""
    root: CID | None
    filename: str | None
    """Absolute path of the original."""
    car_path: str | None
    car_owner: str | None
    """``importmgr`` if the archive goes with the import; ``user``, or nothing, if it is somebody else's."""
    labels: dict[str, str]
    """All of them, those above included."""
    error: str = ""
    """What is wrong with the record itself, in words."""

    @classmethod
    def of(cls, id_: int, labels: Mapping[str, str]) -> Import:
        """The import of that number and those labels."""
        text, error = labels.get(ROOT), ""
        root = root_of(labels)
        if root is None and text is not None:
            error = f"the root {text!r} is no CID"
        return cls(
            id=id_,
            source=labels.get(SOURCE),
            root=root,
            filename=_path_of(labels.get(FILENAME)),
            car_path=_path_of(labels.get(CAR_PATH)),
            car_owner=labels.get(CAR_OWNER),
            labels=dict(labels),
            error=error,
        )

    @classmethod
    def unreadable(cls, id_: int, error: str) -> Import:
        """An import of whose record nothing is known but the number."""
        return cls(
            id=id_, source=None, root=None, filename=None, car_path=None, car_owner=None, labels={}, error=error
        )


def _path_of(label: str | None) -> str | None:
    """A label as this process names the file: where its locale has not all characters, the bytes are UTF-8.

    That is how Lotus, which knows no locales, and a process with another one would name it.
    """
    try:
        os.fsencode(label or "")
    except UnicodeEncodeError:
        return os.fsdecode((label or "").encode("utf-8", "surrogatepass"))
    return label


def root_of(labels: Mapping[str, str]) -> CID | None:
    """The CID that the labels have for the root; None if they have none."""
    try:
        return CID.of(labels[ROOT])
    except (KeyError, ValueError):
        return None


def write_labels(labels: Mapping[str, str]) -> str:
    """Labels as JSON in ASCII, in the order of their keys, as Go writes a map."""
    return json.dumps(dict(sorted(labels.items())), separators=(",", ":"))


def read_json(text: str | bytes, what: str) -> object:
    """A JSON value.

    Raises:
        FormatError: it is none; ``what`` is the subject of the sentence.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise FormatError(f"{what} is no JSON: {error.msg}", position=error.pos) from None
    except (ValueError, RecursionError):  # not UTF-8; a number of thousands of digits; nested too deeply
        raise FormatError(f"{what} is no JSON", position=0) from None


def read_labels(value: object, what: str) -> dict[str, str]:
    """Labels out of a JSON value, of which ``null`` is the empty one, as in Go.

    Raises:
        FormatError: they are something else than texts by name.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise FormatError(f"{what}: labels are an object, not {type(value).__name__}", position=0)
    labels = cast("dict[str, Any]", value)
    for key, text in labels.items():
        if not isinstance(text, str):
            raise FormatError(f"{what}: label {key!r} is no text", position=0)
    return labels

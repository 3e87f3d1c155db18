"""Lotus' records of imports as text, in and out.

Lotus keeps each under ``/client/stores/<number>`` of its metadata store, as ``{"Labels":{"source":"import"}}``.
Here a line is such a value with its number in it, ``{"id":"1629158672000000001","Labels":{...}}``; what is read
may also be one object of all of them, by number or by key. Numbers are written as texts, because they are beyond
2**53, from where on many JSON programs read another number; what stands there as a number is read exactly.

Source: Lotus' ``imports`` package, whose records these are.
"""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, NamedTuple, cast

from carv2.errors import FormatError, LimitError
from carv2.imports.record import read_json, read_labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any, BinaryIO

__all__ = ["Loaded", "Record", "read_records", "write_record"]

MAX_LINE, MAX_TEXT = 1 << 20, 64 << 20
"""Bytes of one record, and of an object of all of them."""

_KEY = re.compile(r"(?:(?:/client)?/stores/)?([0-9]{1,19})", re.ASCII)


class Record(NamedTuple):
    """A number and its labels."""

    id: int
    labels: dict[str, str]


class Loaded(NamedTuple):
    """What became of records that were taken in."""

    added: int
    """So many are new."""
    present: int
    """So many were there already, with the same labels."""


def write_record(id_: int, labels: Mapping[str, str]) -> str:
    """One line, without its end.

    >>> write_record(1629158672000000001, {"source": "import"})
    '{"id":"1629158672000000001","Labels":{"source":"import"}}'
    """
    return json.dumps({"id": str(id_), "Labels": dict(sorted(labels.items()))}, separators=(",", ":"))


def read_records(records: BinaryIO | Iterable[str | bytes]) -> Iterator[Record]:
    """The records of either form, in a binary file or as lines; memory is that of a line, or of the whole object.

    Raises:
        FormatError: it is something else, at that byte of the file; the records before it were given.
        LimitError: a line of more than 1 MiB, or an object of more than 64 MiB.

    >>> import io
    >>> list(read_records(io.BytesIO(b'{"/client/stores/7": {"Labels": {"source": "import"}}}')))
    [Record(id=7, labels={'source': 'import'})]
    """
    file = _as_file(records)
    position = 0
    while line := file.readline(MAX_LINE + 1):
        text = line.strip()
        if position == 0 and text and not _is_record(text):
            yield from _of_mapping(line + _rest(file, len(line)))
            return
        if len(line) > MAX_LINE:
            raise LimitError("record", found=len(line), allowed=MAX_LINE, position=position)
        if text:
            yield _of_line(text, position)
            position += len(line)


def _as_file(records: BinaryIO | Iterable[str | bytes]) -> BinaryIO:
    if isinstance(records, (str, bytes)):
        raise TypeError("records are a binary file, or lines: not one text")
    if isinstance(records, (io.RawIOBase, io.BufferedIOBase)) or hasattr(records, "readinto"):
        return cast("BinaryIO", records)
    return cast("BinaryIO", io.BufferedReader(_Lines(records)))


class _Lines(io.RawIOBase):
    """Lines, with or without their ends, as the bytes of a file."""

    def __init__(self, lines: Iterable[str | bytes]) -> None:
        self._lines, self._rest = iter(lines), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            line = next(self._lines, None)
            if line is None:
                return 0
            data = line.encode("utf-8", "surrogateescape") if isinstance(line, str) else bytes(line)
            self._rest = data if data.endswith(b"\n") else data + b"\n"
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


_SHAPE = '{"id":"1629158672000000001","Labels":{...}} or {"1629158672000000001":{"Labels":{...}}}'


def _is_record(line: bytes) -> bool:
    try:
        value = read_json(line, "")
    except FormatError:
        return line.startswith(b'{"id"')  # a damaged one, at least
    return isinstance(value, dict) and "id" in value


def _rest(file: BinaryIO, size: int) -> bytes:
    rest = file.read(MAX_TEXT - size + 1)
    if size + len(rest) > MAX_TEXT:
        raise LimitError("records", found=size + len(rest), allowed=MAX_TEXT, position=0)
    return rest


def _of_line(line: bytes, position: int) -> Record:
    what = f"the record at byte {position}"
    value = read_json(line, what)
    if not isinstance(value, dict) or "id" not in value:
        raise FormatError(f"{what} has no id: expected {_SHAPE}", position=position)
    return _record(cast("dict[str, Any]", value)["id"], cast("object", value), position)


def _of_mapping(text: bytes) -> Iterator[Record]:
    value = read_json(text, "what should be records")
    if not isinstance(value, dict):
        raise FormatError("records are an object, or one a line", position=0)
    for key, item in cast("dict[str, object]", value).items():
        yield _record(key, item, 0)


def _record(key: object, value: object, position: int) -> Record:
    found = _KEY.fullmatch(str(key)) if isinstance(key, (str, int)) else None
    if found is None:
        raise FormatError(f"{str(key)[:80]!r} is no number of an import: expected {_SHAPE}", position=position)
    if not isinstance(value, dict):
        raise FormatError(f"the record of import {found[1]} is no object", position=position)
    labels = read_labels(cast("dict[str, object]", value).get("Labels"), f"the record of import {found[1]}")
    return Record(int(found[1]), labels)

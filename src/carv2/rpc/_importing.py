"""An import into a store elsewhere: records some at a time, and each index with its own."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any

from carv2.dagstore import GoImport
from carv2.dagstore.golayout import Refusals, index_of, records_in
from carv2.rpc import _forms as forms
from carv2.rpc import _own_calls
from carv2.rpc._connection import MAX_ANSWER, Answer
from carv2.rpc._dialogue import meaning_of
from carv2.rpc._wire import HttpConnections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2._source import FileSource
    from carv2.rpc._connection import Route

__all__ = ["import_go"]

_AT_ONCE = 64 << 10
"""Bytes of records in a call."""
_CHUNK = 1 << 18


def import_go(route: Route, folder: str, *, stop: threading.Event | None = None) -> GoImport:
    """See :meth:`carv2.rpc.DagStoreClient.import_go`; ends with RpcTransportError once ``stop`` is set."""
    folder = os.path.abspath(folder)
    records = records_in(folder)
    importing = _Import(route, stop or threading.Event())
    try:
        importing.send([])  # whether it can be done at all
        for line, found in records:
            importing.take(folder, line, found)
        importing.finish()
    finally:
        importing.connections.close()
    return importing.report()


class _Import:
    """One import."""

    def __init__(self, route: Route, stop: threading.Event) -> None:
        self._route, self._stop = route, stop
        self.connections = HttpConnections(route)
        self._batch, self._size = list[dict[str, object]](), 0
        self._refused = list[str]()
        self._counts = dict.fromkeys(("shard_count", "index_count", "known", "refused_count"), 0)

    def take(self, folder: str, line: int, found: Any) -> None:
        """One record, or what is wrong with it."""
        if isinstance(found, str):
            refused = Refusals()
            refused.add(line, found)
            self._refused += refused.texts
            self._counts["refused_count"] += 1
            return
        fields = forms.foreign_out(line, found)
        index = index_of(folder, found)
        if index is not None:
            self._send_with(fields, index)
            return
        size = len(json.dumps(fields)) + 2
        if self._batch and self._size + size > _AT_ONCE:
            self.finish()
        self._batch.append(fields)
        self._size += size

    def finish(self) -> None:
        """Send what is left."""
        batch, self._batch, self._size = self._batch, [], 0
        if batch:
            self.send(batch)

    def send(self, batch: list[dict[str, object]]) -> None:
        """Some records without an index."""
        self._check_stop()
        call = _own_calls.import_go(batch)
        answer = Answer(self._route.dialogue, call.method, None, MAX_ANSWER)
        status = self.connections.post(self._route.dialogue.question(call, 1), answer)
        self._add(self._route.dialogue.answer(call, 1, answer.body, status=status))

    def _send_with(self, fields: dict[str, object], index: FileSource) -> None:
        """A record with its index."""
        line = json.dumps(fields).encode() + b"\n"
        answer = Answer(self._route.dialogue, "index", None, MAX_ANSWER)
        try:
            size = index.size
            status = self.connections.put_index(len(line) + size, self._pieces(line, index, size), answer)
        finally:
            index.close()
        if status >= 300:
            raise self._route.dialogue.trouble(f"index of {fields['Key']}: {meaning_of(status)}")
        self._add(self._route.dialogue.answer(_own_calls.import_go([]), 0, answer.body))

    def _pieces(self, line: bytes, index: FileSource, size: int) -> Iterator[bytes]:
        yield line
        for start in range(0, size, _CHUNK):
            self._check_stop()
            yield index.read_exactly(start, min(_CHUNK, size - start), "index")

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise self._route.dialogue.trouble("given up")

    def _add(self, part: GoImport) -> None:
        for name in self._counts:
            self._counts[name] += getattr(part, name)
        self._refused += part.refused

    def report(self) -> GoImport:
        """What became of all, in the order of the lines."""
        refused = Refusals()
        refused.merge(sorted(self._refused, key=_line_of), 0)
        return GoImport(**self._counts, refused=refused.texts)


def _line_of(text: str) -> int:
    number = text.removeprefix("line ").partition(":")[0]
    return int(number) if number.isdecimal() else 0

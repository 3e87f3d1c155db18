"""An export of a store elsewhere: the records over a stream, then the index files one by one."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from carv2.dagstore.golayout import write_export
from carv2.errors import FormatError, RpcError, RpcTransportError
from carv2.rpc import _own_calls
from carv2.rpc._connection import DIGEST_HEADER
from carv2.rpc._dialogue import Stream, meaning_of
from carv2.rpc._wire import HttpConnections, values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carv2.dagstore import GoExport
    from carv2.dagstore.golayout import GoIndexFolder
    from carv2.rpc._connection import Route

__all__ = ["export_go"]

_MEMORY = 1 << 20
"""Bytes of records that are kept in memory; more go to a temporary file."""
_FAILED = 1  # the code of a method that failed


def export_go(route: Route, folder: str, *, local_copies: bool, stop: threading.Event | None = None) -> GoExport:
    """See :meth:`carv2.rpc.DagStoreClient.export_go`; ends with RpcTransportError once ``stop`` is set."""
    export = _Export(route, stop or threading.Event())
    try:
        with tempfile.SpooledTemporaryFile(_MEMORY) as records:
            # First all of them: the server does not wait for a stream that nobody takes anything from.
            return write_export(os.path.abspath(folder), export.shards(records, local_copies=local_copies))
    finally:
        export.connections.close()


class _Export:
    """One export."""

    def __init__(self, route: Route, stop: threading.Event) -> None:
        self._route, self._stop = route, stop
        self.connections = HttpConnections(route)

    def shards(
        self, file: IO[bytes], *, local_copies: bool
    ) -> Iterator[tuple[dict[str, Any], Callable[[GoIndexFolder], bool] | None]]:
        """The records, which are kept in ``file``, and how to get the index of each."""
        self._fetch_records(file, local_copies=local_copies)
        file.seek(0)
        for line in file:
            record, has_index = json.loads(line)
            yield record, partial(self._take_index, record["k"]) if has_index else None

    def _fetch_records(self, file: IO[bytes], *, local_copies: bool) -> None:
        dialogue = self._route.dialogue
        stream = Stream(dialogue, _own_calls.export_go(local_copies=local_copies), 1)
        end = None
        with contextlib.closing(values(stream, self._route)) as told:
            for end in told:
                self._check_stop()
                for shard in end.shards:
                    file.write(json.dumps(shard).encode() + b"\n")
        if end is None or not end.is_end:
            raise dialogue.trouble("the stream of records ended early; there may be more")
        if end.error:
            raise RpcError(_FAILED, end.error)

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise self._route.dialogue.trouble("given up")

    def _take_index(self, key: str, indices: GoIndexFolder) -> bool:
        """Put the index of a shard there, if it has one."""
        with self.connections.index_of(key) as response:
            if response.status_code == 204:
                return False
            if response.status_code != 200:
                raise self._trouble(key, meaning_of(response.status_code))
            try:
                name, facts = indices.draft(self._chunks(key, response))
            except FormatError as error:
                raise self._trouble(key, f"no index: {error}") from error
        try:
            if facts.digest.hex() != response.headers.get(DIGEST_HEADER):
                raise self._trouble(key, "not the bytes that the server gives the digest of")
            indices.publish(key, name)
        finally:
            indices.drop_draft(name)
        return True

    def _chunks(self, key: str, response: Any) -> Iterator[bytes]:
        """What comes, at most as much as was announced: httpx has an eye on that."""
        is_plain = response.headers.get("content-encoding") in {None, "", "identity"}
        if not is_plain or not response.headers.get("content-length", "").isdecimal():
            raise self._trouble(key, "of no known length, or compressed")
        for chunk in response.iter_raw():
            self._check_stop()
            yield chunk

    def _trouble(self, key: str, text: str) -> RpcTransportError:
        return self._route.dialogue.trouble(f"index of {key}: {text}")

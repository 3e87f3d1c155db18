"""Shards that come with their index file, for admins: ``PUT /rpc/v0/index``.

The body is the record of a shard as a line of JSON, and the bytes of the index file behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from carv2.dagstore.golayout import GoIndexFolder, import_records
from carv2.errors import FormatError, RpcError
from carv2.rpc import _forms as forms
from carv2.rpc import _jsonrpc as rpc
from carv2.rpc._access import Refusal
from carv2.rpc._http import pieces_of, respond_at_once
from carv2.rpc._work import Work, within
from carv2.rpc.methods import refusal_of

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from carv2.dagstore import DagStore
    from carv2.rpc.limits import ServerLimits

__all__ = ["IndexUploads"]

_MEMORY = 1 << 20
"""Bytes that are kept in memory until all have come; more go to a temporary file."""
_MOST_RECORD = 1 << 20
_CHUNK = 1 << 16


class IndexUploads:
    """Takes shards with their indexes. Nothing is changed before all of one has come."""

    def __init__(self, store: DagStore, limits: ServerLimits, work: Work) -> None:
        self._store, self._limits, self._work = store, limits, work

    async def take(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a PUT as a call of ``DagstoreImportGo`` is answered.

        Raises:
            Refusal: it is no record, too much, or too slow.
            GoneError: the client went away.
        """
        with tempfile.SpooledTemporaryFile(_MEMORY) as file:
            await self._receive(scope, receive, file)
            try:
                answer = rpc.result(0, await self._work.run(partial(self._imported, file)))
            except RpcError as error:
                answer = rpc.error(0, error)
        await respond_at_once(send, 200, "application/json", b"".join(answer))

    async def _receive(self, scope: Scope, receive: Receive, file: IO[bytes]) -> None:
        pieces, seconds = pieces_of(scope, receive, self._limits.max_index), self._limits.request_timeout
        async with contextlib.aclosing(pieces):
            while True:
                try:
                    piece = await within(seconds, anext(pieces))
                except StopAsyncIteration:
                    return
                except asyncio.TimeoutError:
                    raise Refusal(408, f"nothing came for {seconds:g} s") from None
                await self._work.run(partial(file.write, piece))

    def _imported(self, file: IO[bytes]) -> bytes:
        try:
            return json.dumps(forms.taken_out(self._import(file))).encode()
        except Exception as error:
            fault = refusal_of(error)
            if fault is None:
                raise
            raise fault from error

    def _import(self, file: IO[bytes]) -> Any:
        file.seek(0)
        try:
            line, record = forms.foreign_in(json.loads(file.readline(_MOST_RECORD)))
        except (ValueError, RecursionError) as error:
            raise RpcError(rpc.INVALID_PARAMS, f"no record of a shard: {error}") from None
        with tempfile.TemporaryDirectory(prefix="carv2-import-") as folder:
            indices = GoIndexFolder(folder)
            if indices.can_hold(record.key):
                with contextlib.suppress(FormatError):  # as where it lies in a folder of this host
                    indices.write(record.key, iter(partial(file.read, _CHUNK), b""))
            return import_records(self._store, [(line, record)], indices)

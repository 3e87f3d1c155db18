"""The index files of shards, for admins: ``GET /rpc/v0/index?key=KEY``; shards that bring one are PUT there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from carv2.dagstore.golayout import open_index
from carv2.errors import CarError, ClosedError, RpcError
from carv2.rpc._access import Refusal
from carv2.rpc._connection import DIGEST_HEADER, INDEX_PATH
from carv2.rpc._http import GoneError, refuse, start_of
from carv2.rpc._index_uploads import IndexUploads
from carv2.rpc._work import Work, within

if TYPE_CHECKING:
    from collections.abc import Generator

    from starlette.types import Receive, Scope, Send

    from carv2.dagstore import DagStore
    from carv2.dagstore.catalogue import IndexFacts
    from carv2.dagstore.indices import OpenIndex
    from carv2.rpc._access import Access
    from carv2.rpc._dispatch import Dispatcher

__all__ = ["INDEX_PATH", "IndexFiles"]

_log = logging.getLogger("carv2.rpc")
_BYTES = "application/octet-stream"


class IndexFiles:
    """An ASGI application. GET: 200 with the file and its SHA-256, 204 where a shard has none."""

    def __init__(self, store: DagStore, dispatcher: Dispatcher, access: Access) -> None:
        self._store, self._dispatcher, self._access = store, dispatcher, access
        self._work = Work(dispatcher.limits.max_streams)  # of their own: disks may be slow
        self._uploads = IndexUploads(store, dispatcher.limits, self._work)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(scope)
            with self._dispatcher.slot("stream", self._dispatcher.limits.max_streams):
                if scope["method"] == "PUT":
                    await self._uploads.take(scope, receive, send)
                else:
                    await self._send(_key_in(scope), send)
        except Refusal as refusal:
            await refuse(send, refusal, allowed=b"GET, PUT")
        except RpcError as error:  # too much at once
            await refuse(send, Refusal(503, str(error)))
        except GoneError:
            return

    def _check(self, scope: Scope) -> None:
        """Refusal of who may not do that."""
        if scope["method"] not in {"GET", "PUT"}:
            raise Refusal(405, "index files are read with GET, and sent with PUT")
        grant = self._access.of(scope)
        if grant.is_over:
            raise Refusal(401, "the token has expired")
        if "admin" not in grant.allow:
            raise Refusal(403, "missing permission for index files (need 'admin')")

    async def _send(self, key: str, send: Send) -> None:
        opened = await self._opened(key)
        if opened is None:
            await send(start_of(204, "", 0))
            await send({"type": "http.response.body", "body": b""})
            return
        file, facts = opened
        seconds = self._dispatcher.limits.send_timeout
        with file, _broken_off(key):  # a file that ends too early says so itself
            digest = [(DIGEST_HEADER.encode(), facts.digest.hex().encode())]
            await send(start_of(200, _BYTES, facts.size, digest))
            chunks = file.index.chunks()
            while (chunk := await self._work.run(lambda: next(chunks, None))) is not None:
                await within(seconds, send({"type": "http.response.body", "body": chunk, "more_body": True}))
            await within(seconds, send({"type": "http.response.body", "body": b""}))

    async def _opened(self, key: str) -> tuple[OpenIndex, IndexFacts] | None:
        try:
            return await self._work.run(lambda: open_index(self._store, key))
        except ClosedError:
            raise Refusal(503, "dagstore not available on this node") from None
        except (FileNotFoundError, CarError):
            return None  # as where the store is exported on its own host
        except OSError as error:
            raise Refusal(500, error.strerror or type(error).__name__) from None


@contextlib.contextmanager
def _broken_off(key: str) -> Generator[None]:
    """What goes wrong once the first byte was sent."""
    try:
        yield
    except asyncio.TimeoutError:
        return
    except (CarError, OSError) as error:
        _log.error("index of %s: %s", key, error)


def _key_in(scope: Scope) -> str:
    """The key of the shard that is asked for."""
    try:
        query: str = scope["query_string"].decode("ascii")
        return parse_qs(query, errors="strict")["key"][0]
    except (KeyError, ValueError):
        raise Refusal(400, f"which one? {INDEX_PATH}?key=KEY") from None

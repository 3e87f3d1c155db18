"""What is answered to a request that is in order."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from carv2.header import CarV1Header
from carv2.ipfs.gateway._headers import etag_of, has_etag, of_answer
from carv2.ipfs.gateway._reader import ReadAhead, pieces_of
from carv2.ipfs.gateway._refusal import RefusalError
from carv2.ipfs.gateway._request import header
from carv2.unixfs import path_roots, request_blocks
from carv2.unixfs._walk import Fetcher, Want, inline
from carv2.unixfs.serving import fetched

if TYPE_CHECKING:
    from carv2.cid import CID
    from carv2.dag.walking import Store
    from carv2.ipfs.gateway._exchange import Exchange
    from carv2.ipfs.gateway._memory import Place, Share
    from carv2.ipfs.gateway._reader import Worker
    from carv2.ipfs.gateway._request import GatewayRequest


class Answering(NamedTuple):
    """One request that is being answered."""

    exchange: Exchange
    request: GatewayRequest
    worker: Worker
    store: Store
    share: Share
    place: Place
    max_bytes: int
    headers: tuple[tuple[str, str], ...]
    """Those of every answer."""

    async def run(self) -> None:
        """Answer.

        Raises:
            RefusalError: with an HTTP error.
            Exception: whatever the store raises; where the answer has begun, it is to be broken off.
        """
        exchange, request = self.exchange, self.request
        if "only-if-cached" in header(exchange.scope, b"cache-control").lower():
            await self._require(request.root, 412)
        roots = await self.worker.call(partial(path_roots, self.store, request.root, request.path))
        headers = [*of_answer(request, roots), *self.headers]
        if has_etag(header(exchange.scope, b"if-none-match"), etag_of(request)):
            await self._require(roots[-1], 404)
            await exchange.whole(304, headers)
        elif not request.form.is_car:
            await self._block(headers)
        elif exchange.is_head:
            await self._require(roots[-1], 404)
            await exchange.start(200, headers)
            await exchange.body(b"")
        else:
            await self._archive(roots[-1], headers)

    async def _require(self, cid: CID, status: int) -> None:
        """Refuse with ``status`` what is not here."""
        if not await self.worker.call(partial(_has, self.store, cid)):
            raise RefusalError(status, f"could not find {cid.short()}")

    async def _block(self, headers: list[tuple[str, str]]) -> None:
        data = await self.worker.call(partial(_data, self.store, self.request.root))
        self.place.hold(len(data))
        await self.exchange.whole(200, headers, data)

    async def _archive(self, root: CID, headers: list[tuple[str, str]]) -> None:
        request = self.request
        blocks = request_blocks(
            self.store,
            request.root,
            request.path,
            scope=request.scope,
            byte_range=request.byte_range,
            dups=request.form.dups,
        )
        note = None if request.form.dups else self.share.take
        head = CarV1Header((root,)).to_bytes()
        reading = ReadAhead(pieces_of(head, blocks, note, self.max_bytes), self.worker, self.place.hold)
        await reading.begin()
        if reading.error is not None:
            raise reading.error
        if reading.is_over:
            await self.exchange.whole(200, headers, reading.rest())
            return
        await self.exchange.start(200, headers)
        while (piece := await reading.take()) is not None:
            await self.exchange.body(piece, more=True)
            await asyncio.sleep(0)  # else nobody had a turn while pieces are ready and taken at once
        await self.exchange.body(b"")


def _has(store: Store, cid: CID) -> bool:
    return inline(bytes(cid)) is not None or cid in store


def _data(store: Store, cid: CID) -> bytes:
    return fetched(Fetcher(store), Want(bytes(cid)))

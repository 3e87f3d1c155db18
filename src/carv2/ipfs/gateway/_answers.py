"""What is answered to a request that is in order."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from carv2.header import CarV1Header
from carv2.ipfs.gateway._headers import etag_of, has_etag, of_answer
from carv2.ipfs.gateway._reader import Batch, Sections
from carv2.ipfs.gateway._refusal import RefusalError
from carv2.ipfs.gateway._request import header
from carv2.unixfs import path_roots, request_blocks
from carv2.unixfs._walk import Fetcher, Want, inline
from carv2.unixfs.serving import fetched

if TYPE_CHECKING:
    from collections.abc import Callable

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
        take = Sections(CarV1Header((root,)).to_bytes(), blocks, note, self.max_bytes).take
        batch = await self.worker.call(partial(self._taken, take, 0))
        if batch.error is not None:
            raise batch.error
        if batch.is_last:
            await self.exchange.whole(200, headers, b"".join(batch.pieces))
        else:
            await self.exchange.start(200, headers)
            await self._send_all(take, batch)

    async def _send_all(self, take: Callable[[], Batch], batch: Batch) -> None:
        """Send an archive from ``batch`` on, reading the next batch meanwhile."""
        while not batch.is_last:
            self.worker.begin(partial(self._taken, take, batch.size))
            await self._send(batch)
            batch = await self.worker.result()
        await self._send(batch)
        if batch.error is not None:
            raise batch.error
        await self.exchange.body(b"")

    def _taken(self, take: Callable[[], Batch], before: int) -> Batch:
        """The next batch; ``before`` bytes are held besides."""
        batch = take()
        try:
            self.place.hold(before + batch.size)
        except RefusalError as error:
            return Batch([], is_last=True, error=error)
        return batch

    async def _send(self, batch: Batch) -> None:
        for piece in batch.pieces:
            await self.exchange.body(piece, more=True)


def _has(store: Store, cid: CID) -> bool:
    return inline(bytes(cid)) is not None or cid in store


def _data(store: Store, cid: CID) -> bytes:
    return fetched(Fetcher(store), Want(bytes(cid)))

"""How a server is: ``/health`` for who restarts it, ``/metrics`` for who draws it."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

from carv2.errors import CarError
from carv2.rpc._access import Refusal
from carv2.rpc._metrics import of_store
from carv2.rpc._work import Shared, within

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from carv2.dagstore import StoreStat
    from carv2.rpc._access import Access
    from carv2.rpc._metrics import Metrics
    from carv2.rpc.methods import StoreMethods

__all__ = ["Status"]

_PATIENCE = 5.0  # seconds that the store may take to say what it has
_STAT_SECONDS = 2.0  # so long a count of the store is told again: it reads the whole catalogue
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Status:
    """Both pages."""

    def __init__(self, methods: StoreMethods, metrics: Metrics, access: Access) -> None:
        self._access = access
        self._store, self._work, self._metrics = methods.store, methods.work, metrics
        self._count = Shared(lambda: self._work.run(lambda: len(self._store)))
        self._stat = Shared(self._new_stat)
        self._known: tuple[float, StoreStat] | None = None

    async def health(self, request: Request) -> Response:
        """200 if the store answers, 503 if it does not; 403 for a page of a stranger."""
        from starlette.responses import Response  # noqa: PLC0415  (optional)

        if (refused := self._refused(request)) is not None:
            return refused
        try:
            count = await within(_PATIENCE, self._count.get())
        except (CarError, OSError, asyncio.TimeoutError):
            status, told = 503, '{"status": "unavailable"}'
        else:
            status, told = 200, f'{{"status": "ok", "shards": {count}}}'
        return Response(told, status, media_type="application/json", headers={"cache-control": "no-store"})

    async def metrics(self, request: Request) -> Response:
        """What the server counts, and the store; 503 where that does not answer, 403 for a page of a stranger."""
        from starlette.responses import Response  # noqa: PLC0415  (optional)

        if (refused := self._refused(request)) is not None:
            return refused
        try:
            stat = await within(_PATIENCE, self._stat.get())
        except (CarError, OSError, asyncio.TimeoutError):
            return Response("the store does not answer\n", 503, media_type=_METRICS_TYPE)
        lines = itertools.chain(of_store(stat, self._store.counters()), self._metrics.lines())
        return Response("\n".join(lines) + "\n", media_type=_METRICS_TYPE)

    def _refused(self, request: Request) -> Response | None:
        """The answer to a page of a stranger; None to others."""
        from starlette.responses import Response  # noqa: PLC0415  (optional)

        try:
            self._access.check_origin(request.scope)
        except Refusal as refusal:
            return Response(f"{refusal}\n", refusal.status, media_type="text/plain")
        return None

    async def _new_stat(self) -> StoreStat:
        now = time.monotonic()
        if self._known is None or now - self._known[0] > _STAT_SECONDS:
            self._known = now, await self._work.run(self._store.stat)
        return self._known[1]

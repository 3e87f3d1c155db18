"""Both clients behind one face, so that each test is of both."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from typing import Any

from carv2.rpc import AsyncDagStoreClient, DagStoreClient


class InThread:
    """The client that waits in a thread."""

    def __init__(self, url: str, **options: Any) -> None:
        self.url, self.options = url, options

    def __call__(self, method: str, *arguments: Any, **options: Any) -> Any:
        """What one call comes to."""
        with DagStoreClient(self.url, **self.options) as client:
            found = getattr(client, method)(*arguments, **options)
            return list(found) if method == "list" else found

    def events(self, **options: Any) -> list[Any]:
        """The events of ``initialize_all``."""
        return self.stream("initialize_all", **options)

    def stream(self, method: str, *, most: int | None = None, **options: Any) -> list[Any]:
        """The values of a stream, until it is given up after ``most``."""
        found: list[Any] = []
        with (
            DagStoreClient(self.url, **self.options) as client,
            contextlib.closing(getattr(client, method)(**options)) as events,
        ):
            for event in events:
                found.append(event)
                if len(found) == most:
                    break
        return found


class InLoop:
    """The one for asyncio."""

    def __init__(self, url: str, **options: Any) -> None:
        self.url, self.options = url, options

    def __call__(self, method: str, *arguments: Any, **options: Any) -> Any:
        async def call() -> Any:
            async with AsyncDagStoreClient(self.url, **self.options) as client:
                return await getattr(client, method)(*arguments, **options)

        return asyncio.run(call())

    def events(self, **options: Any) -> list[Any]:
        return self.stream("initialize_all", **options)

    def stream(self, method: str, *, most: int | None = None, **options: Any) -> list[Any]:
        async def take() -> list[Any]:
            found: list[Any] = []
            async with (
                AsyncDagStoreClient(self.url, **self.options) as client,
                contextlib.aclosing(getattr(client, method)(**options)) as events,
            ):
                async for event in events:
                    found.append(event)
                    if len(found) == most:
                        break
            return found

        return asyncio.run(take())


BOTH = [InThread, InLoop]


def methods_of(client: type) -> dict[str, list[str]]:
    """Names of a client's methods, and of their parameters."""
    return {
        name: list(inspect.signature(function).parameters)
        for name, function in inspect.getmembers(client, inspect.isfunction)
        if not name.startswith("_")
    }

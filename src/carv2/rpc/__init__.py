"""A DAG store over the network, as Lotus offers it: JSON-RPC 2.0 over HTTP and WebSocket, with tokens.

Needs ``carv2[rpc]``; nothing of it is imported before a name of this package is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carv2.rpc.app import create_app
    from carv2.rpc.async_client import AsyncDagStoreClient
    from carv2.rpc.client import DagStoreClient
    from carv2.rpc.limits import ServerLimits
    from carv2.rpc.tokens import Permission, load_or_make_secret, make_token, read_token

__all__ = [
    "AsyncDagStoreClient",
    "DagStoreClient",
    "Permission",
    "ServerLimits",
    "create_app",
    "load_or_make_secret",
    "make_token",
    "read_token",
]

_MODULES = {
    "AsyncDagStoreClient": "async_client",
    "DagStoreClient": "client",
    "Permission": "tokens",
    "ServerLimits": "limits",
    "create_app": "app",
    "load_or_make_secret": "tokens",
    "make_token": "tokens",
    "read_token": "tokens",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"carv2.rpc.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "carv2").startswith("carv2"):
            raise
        raise ModuleNotFoundError(
            f"carv2.rpc needs {error.name}: pip install 'carv2[rpc]'", name=error.name
        ) from None

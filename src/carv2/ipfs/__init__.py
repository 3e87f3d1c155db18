"""Data of IPFS nodes and gateways, and carv2's data for them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carv2.ipfs._fetch_options import Fetched, FetchOptions
    from carv2.ipfs.fetching import fetch, fetch_into
    from carv2.ipfs.kubo import AsyncKuboBlockstore, KuboBlockstore

__all__ = ["AsyncKuboBlockstore", "FetchOptions", "Fetched", "KuboBlockstore", "fetch", "fetch_into"]

_MODULES = {
    "AsyncKuboBlockstore": "kubo",
    "FetchOptions": "_fetch_options",
    "Fetched": "_fetch_options",
    "KuboBlockstore": "kubo",
    "fetch": "fetching",
    "fetch_into": "fetching",
}


def __getattr__(name: str) -> object:
    """Names are imported when they are used: each part needs other things."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"carv2.ipfs.{_MODULES[name]}"), name)

"""Data of IPFS nodes and gateways, and carv2's data for them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carv2.ipfs._fetch_options import Fetched, FetchOptions
    from carv2.ipfs.fetching import fetch, fetch_into

__all__ = ["FetchOptions", "Fetched", "fetch", "fetch_into"]

_MODULES = {
    "FetchOptions": "_fetch_options",
    "Fetched": "_fetch_options",
    "fetch": "fetching",
    "fetch_into": "fetching",
}


def __getattr__(name: str) -> object:
    """Names are imported when they are used: each part needs other things."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"carv2.ipfs.{_MODULES[name]}"), name)

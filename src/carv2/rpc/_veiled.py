"""Errors as those see them who may only read: where the bytes of a shard are is the operator's matter."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from carv2.dagstore.mounts._urls import shown

if TYPE_CHECKING:
    from carv2.dagstore import ShardInfo

__all__ = ["veiled", "veiled_error"]

_PLACE = re.compile(
    r"""
    (['"])(?:/|[A-Za-z]:\\|[a-z][a-z0-9+.-]*://).*?\1    # in quotes, as in Python's errors
    | \b[a-z][a-z0-9+.-]*://[^\s'"]*[^\s'").,:;]         # URLs
    | (?<![\w./])/[^\s'"]*[^\s'").,:;]                   # paths
    """,
    re.VERBOSE,
)


def veiled(text: str) -> str:
    """``text`` without URLs and paths.

    >>> veiled("FileNotFoundError: no such file: '/data/my sea.car' (file:///data/my%20sea.car)")
    'FileNotFoundError: no such file: …'
    """
    return _PLACE.sub("…", text).replace(" (…)", "")


def veiled_error(info: ShardInfo) -> str:
    """Why a shard is errored, without where it is."""
    text = info.error
    for place in filter(None, (shown(info.url), info.url, info.local_copy)):
        text = text.replace(place, "…")
    return veiled(text)

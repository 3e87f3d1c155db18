"""Which blocks an index lists."""

from __future__ import annotations

from carv2.multihash import IDENTITY

RECORD_KEYS = b"/filestore/"
"""What identity CIDs hold that records of positional references go by (ref-CARv2, variants A and B of Lotus):
they do not hold their block, so that it is found through the index alone."""


def is_listed(hash_code: int, digest: bytes, *, identity: bool) -> bool:
    """Whether a block of that hash is in the index: identity CIDs are not, unless ``identity``, or they are keys.

    >>> is_listed(IDENTITY, b"fish", identity=False), is_listed(IDENTITY, b"/filestore/CIQ", identity=False)
    (False, True)
    """
    return identity or hash_code != IDENTITY or digest.startswith(RECORD_KEYS)

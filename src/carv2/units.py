"""Numbers that must not be mixed up, and the limits that every length from a file meets.

Source of the limits: go-car's, see ``Limits``.
"""

from __future__ import annotations

from typing import NamedTuple, NewType

__all__ = ["DEFAULT_LIMITS", "FilePosition", "Limits", "PayloadOffset"]

FilePosition = NewType("FilePosition", int)
"""Bytes from the first byte of the file (of the pragma, in a CARv2)."""

PayloadOffset = NewType("PayloadOffset", int)
"""Bytes from the first byte of the CARv1 payload: what an index stores."""


class Limits(NamedTuple):
    """Upper bounds, in bytes, checked before anything is read or allocated; equality is allowed.

    A limit of 0 refuses everything: there is no "unlimited". The defaults are go-car's.

    >>> Limits(section=2 << 20).section
    2097152
    """

    header: int = 32 << 20
    """CBOR body of a CARv1 header, without its length varint."""
    section: int = 8 << 20
    """CID and data of a section, without its length varint."""
    cid: int = 2 << 10
    """A CID that goes into an index."""


DEFAULT_LIMITS = Limits()

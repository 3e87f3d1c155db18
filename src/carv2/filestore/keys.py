"""The names that records go by in a ref-CARv2: CIDs of a key string, which their bytes never hash to.

Source: go-ipfs-filestore keeps records in a datastore, under ``/filestore`` and the leaf's multihash in base32;
go-fil-markets' ``stores`` laid that datastore over the same CAR file, with a CID made of each key. How it is
made changed between versions, and no archive says which made it: readers try both hashes.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from carv2 import _varint
from carv2.cid import CID
from carv2.errors import CarError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from carv2.cid import CIDLike

    KeyHash: TypeAlias = Literal["identity", "sha2-256"]

__all__ = ["VARIANTS", "Variant", "key_cid", "key_string"]

PREFIX = "/filestore/"
"""What every key begins with."""

_PREFIX = PREFIX.encode()
IDENTITY_MARK = b"\x01\x55\x00"
"""What the key CIDs of the variants A and B begin with; the size of the key and the key follow."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the four forms of ref-CARv2 that Lotus wrote over the years.

    >>> VARIANTS["A"]
    Variant(name='A', key_hash='identity', index_codec=1024, fully_indexed=False)
    """

    name: str
    key_hash: KeyHash
    index_codec: int
    """Of the archive's index: 0x0400 or 0x0401."""
    fully_indexed: bool
    """Whether the archive's header says that identity CIDs are in the index too."""


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "A": Variant("A", "identity", 0x0400, fully_indexed=False),
        "B": Variant("B", "identity", 0x0401, fully_indexed=False),
        "C": Variant("C", "sha2-256", 0x0401, fully_indexed=False),
        "D": Variant("D", "sha2-256", 0x0401, fully_indexed=True),
    }
)
"""By name; of the versions of go-fil-markets:

A 1.8.0 to 1.13.3; B 1.13.4 to 1.14.1 and 1.17 to 1.19; C 1.15.0 and 1.20 to 1.24.2; D since.
"""


def key_string(cid: CIDLike) -> str:
    """The datastore key of the leaf ``cid``: of its multihash alone, whatever version and codec it names.

    >>> key_string("bafkreiee3cmhp4guaqppw27zdilpajepf7kxhzvpaxaz7fv63opyql3yqi")
    '/filestore/CIQIJWEYO7YNIBA67NV7SGQW6ASI6L6VOPTK6BOBT6LL5W47RAXXRAQ'
    """
    return _key(CID.of(cid).multihash).decode()


def key_cid(cid: CIDLike, variant: str | Variant = "D") -> CID:
    """The CID that the record of the leaf ``cid`` goes by.

    Raises:
        ValueError: there is no such variant.

    >>> str(key_cid("bafkreiee3cmhp4guaqppw27zdilpajepf7kxhzvpaxaz7fv63opyql3yqi"))
    'bafkreiekwhl6nbwzeyupss7v7ksp5jbynakayonon4kg4dfb6dttnib2dq'
    """
    return CID.trusted(key_bytes(CID.of(cid).multihash, variant_of(variant).key_hash))


def variant_of(variant: str | Variant) -> Variant:
    """The variant of that name; ValueError if there is none."""
    if isinstance(variant, Variant):
        return variant
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r}, there are: {', '.join(VARIANTS)}")
    return VARIANTS[variant]


def key_bytes(multihash: bytes, key_hash: str) -> bytes:
    """The binary key CID for a leaf's multihash; for loops over many."""
    key = _key(multihash)
    if key_hash == "identity":
        return IDENTITY_MARK + _varint.encode(len(key)) + key
    return b"\x01\x55\x12\x20" + hashlib.sha256(key).digest()


def is_identity_key(raw: bytes) -> bool:
    """Whether a binary CID is a key CID of the variants A and B: it shows its key."""
    if not raw.startswith(IDENTITY_MARK):
        return False
    at = len(IDENTITY_MARK)
    return raw.startswith(_PREFIX, at + 1) or raw.startswith(_PREFIX, at + 2)  # the size takes one byte or two


def multihash_in(raw: bytes) -> bytes | None:
    """The leaf's multihash that a key CID of the variants A and B shows; None if there is none in it.

    >>> leaf = CID.of_data(b"fish")
    >>> multihash_in(key_cid(leaf, "A").raw) == leaf.multihash, multihash_in(key_cid(leaf, "D").raw)
    (True, None)
    """
    if not is_identity_key(raw):
        return None
    text = CID.trusted(raw).digest[len(_PREFIX) :]
    try:
        multihash = base64.b32decode(text + b"=" * (-len(text) % 8))
        CID.of_multihash(multihash)
    except (ValueError, CarError):
        return None
    return multihash


def _key(multihash: bytes) -> bytes:
    return _PREFIX + base64.b32encode(multihash).rstrip(b"=")

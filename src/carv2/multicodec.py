"""Names of multicodec numbers: what the codes in CIDs, multihashes and index headers are called.

A table kept by hand answers for what occurs in CAR work; anything else is looked up in the table of the
``multiformats`` package, which is imported only then (80 ms). A number that neither knows is a good number:
it only has no name.

Source: https://github.com/multiformats/multicodec/blob/master/table.csv; the spelling of a nameless code
is go-multicodec's.

>>> name_of(0x12), name_of(0xB220), name_of(31)
('sha2-256', 'blake2b-256', 'Code(31)')
>>> hex(code_of("car-multihash-index-sorted"))
'0x401'
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["code_of", "name_of"]

BLAKE2B_8 = 0xB201
"""blake2b-8; each following code is 8 bits longer, up to blake2b-512 (0xb240)."""

BLAKE2S_8 = 0xB241
"""blake2s-8; each following code is 8 bits longer, up to blake2s-256 (0xb260)."""

_NAMES = {
    # content formats
    0x01: "cidv1",
    0x50: "protobuf",
    0x51: "cbor",
    0x55: "raw",
    0x70: "dag-pb",
    0x71: "dag-cbor",
    0x72: "libp2p-key",
    0x78: "git-raw",
    0x85: "dag-jose",
    0x86: "dag-cose",
    0x90: "eth-block",
    0x91: "eth-block-list",
    0x92: "eth-tx-trie",
    0x93: "eth-tx",
    0x94: "eth-tx-receipt-trie",
    0x95: "eth-tx-receipt",
    0x96: "eth-state-trie",
    0x97: "eth-account-snapshot",
    0x98: "eth-storage-trie",
    0x99: "eth-receipt-log-trie",
    0x9A: "eth-receipt-log",
    0xB0: "bitcoin-block",
    0xB1: "bitcoin-tx",
    0xB2: "bitcoin-witness-commitment",
    0xC0: "zcash-block",
    0xC1: "zcash-tx",
    0x0129: "dag-json",
    0x0200: "json",
    0x0202: "car",
    0x0300: "ipns-record",
    0x0400: "car-index-sorted",
    0x0401: "car-multihash-index-sorted",
    0xF101: "fil-commitment-unsealed",
    0xF102: "fil-commitment-sealed",
    # hash functions
    0x00: "identity",
    0x11: "sha1",
    0x12: "sha2-256",
    0x13: "sha2-512",
    0x14: "sha3-512",
    0x15: "sha3-384",
    0x16: "sha3-256",
    0x17: "sha3-224",
    0x18: "shake-128",
    0x19: "shake-256",
    0x1A: "keccak-224",
    0x1B: "keccak-256",
    0x1C: "keccak-384",
    0x1D: "keccak-512",
    0x1E: "blake3",
    0x20: "sha2-384",
    0x22: "murmur3-x64-64",
    0x23: "murmur3-32",
    0x56: "dbl-sha2-256",
    0xD5: "md5",
    0x1011: "fr32-sha256-trunc254-padbintree",
    0x1012: "sha2-256-trunc254-padded",
    0x1013: "sha2-224",
    0x1014: "sha2-512-224",
    0x1015: "sha2-512-256",
    0x1022: "murmur3-x64-128",
    0x1053: "ripemd-160",
    0x534D: "sm3-256",
    0xB401: "poseidon-bls12_381-a2-fc1",
    **{BLAKE2B_8 - 1 + size: f"blake2b-{8 * size}" for size in range(1, 65)},
    **{BLAKE2S_8 - 1 + size: f"blake2s-{8 * size}" for size in range(1, 33)},
}

_CODES = {name: code for code, name in _NAMES.items()}


def name_of(code: int) -> str:
    """The multicodec name of ``code``; ``Code(31)``, in decimal, for a number without one.

    >>> name_of(0x71)
    'dag-cbor'
    """
    name = _NAMES.get(code)
    if name is None:
        found = _foreign(code=code)
        name = f"Code({code})" if found is None else str(found.name)
    return name


def code_of(name: str) -> int:
    """The number whose multicodec name is ``name``, spelled as in the table.

    Raises:
        ValueError: there is no such name.

    >>> code_of("raw")
    85
    """
    code = _CODES.get(name)
    if code is None:
        found = _foreign(name=name)
        if found is None:
            raise ValueError(f"unknown multicodec name {name!r}")
        code = int(found.code)
    return code


def _foreign(**key: str | int) -> Any | None:
    """The entry of ``multiformats``' table (540 names) for a ``name`` or a ``code``; None without one."""
    try:
        table: Any = import_module("multiformats.multicodec")  # 80 ms: only when needed
        return table.get(**key)
    except (ImportError, KeyError):
        return None

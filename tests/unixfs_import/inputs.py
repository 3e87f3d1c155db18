"""What the IPIP-0499 vectors are made of: ChaCha20's key stream, and folders whose names are drawn from it."""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BY_HAND = 64 << 10  # bytes of key stream that are made by hand even where OpenSSL is there
PATIENCE = 2 << 20  # and where it is not


@functools.lru_cache(maxsize=8)
def key_stream(seed: str, size: int) -> bytes:
    """The first ``size`` bytes of the ChaCha20 key stream: key = sha256(seed), nonce and counter 0."""
    key = hashlib.sha256(seed.encode()).digest()
    if size <= BY_HAND:
        return chacha20(key, size)
    program = shutil.which("openssl")
    if program is None:
        if size > PATIENCE:
            pytest.skip("openssl is not installed, and 45 MB of ChaCha20 by hand take minutes")
        return chacha20(key, size)
    command = [program, "enc", "-chacha20", "-K", key.hex(), "-iv", "0" * 32]
    return subprocess.run(command, input=bytes(size), capture_output=True, check=True).stdout


def chacha20(key: bytes, size: int) -> bytes:
    """The key stream by hand (RFC 8439's block function, with a 64-bit counter as in Bernstein's)."""
    words = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574]
    words += [int.from_bytes(key[at : at + 4], "little") for at in range(0, 32, 4)]
    out = bytearray()
    for counter in range((size + 63) // 64):
        start = [*words, counter & 0xFFFFFFFF, counter >> 32, 0, 0]
        state = list(start)
        for _ in range(10):
            for quarter in QUARTERS:
                quarter_round(state, *quarter)
        for one, other in zip(state, start, strict=True):
            out += ((one + other) & 0xFFFFFFFF).to_bytes(4, "little")
    return bytes(out[:size])


QUARTERS = [
    *((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)),
    *((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)),
]


def quarter_round(state: list[int], a: int, b: int, c: int, d: int) -> None:
    for one, two, three, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        state[one] = (state[one] + state[two]) & 0xFFFFFFFF
        mixed = state[three] ^ state[one]
        state[three] = ((mixed << turn) | (mixed >> (32 - turn))) & 0xFFFFFFFF


def names(seed: str, alphabet: str, sizes: list[int]) -> list[str]:
    """Names of the given sizes, one character for each byte of the key stream."""
    letters = [alphabet[byte % len(alphabet)] for byte in key_stream(seed, sum(sizes))]
    found, at = [], 0
    for size in sizes:
        found.append("".join(letters[at : at + size]))
        at += size
    return found


def write_tree(folder: Path, tree: Mapping[str, object]) -> None:
    """Files (bytes), symlinks (str) and folders (dict), by name."""
    folder.mkdir(exist_ok=True)
    for name, content in tree.items():
        path = folder / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.symlink_to(content)
        else:
            assert isinstance(content, dict)
            write_tree(path, content)

"""The archives that everything is measured on: made once, with a fixed seed, by carv2's own writer.

*small*: dag-cbor blocks of 120 bytes, where the cost of a block counts. *medium*: raw blocks of 4 KiB. *large*:
raw blocks of 1 MiB, where the cost of a byte counts. *tiny*: the small kind, few, for libraries that would take
an hour.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import carv2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAG_CBOR, RAW = 0x71, 0x55
_HEADER_SIZE, _CID_SIZE = 59, 36  # of a CARv1 with one root


@dataclass(frozen=True)
class Recipe:
    name: str
    blocks: int
    block_size: int
    codec: int

    def scaled(self, divisor: int) -> Recipe:
        return Recipe(self.name, max(4, self.blocks // divisor), self.block_size, self.codec)

    @property
    def size(self) -> int:
        """Of the CARv1 in bytes."""
        section = _CID_SIZE + self.block_size
        return _HEADER_SIZE + self.blocks * ((section.bit_length() + 6) // 7 + section)


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("small", 2_000_000, 120, DAG_CBOR),
        Recipe("medium", 100_000, 4 << 10, RAW),
        Recipe("large", 1_024, 1 << 20, RAW),
        Recipe("tiny", 20_000, 120, DAG_CBOR),
    )
}


@dataclass(frozen=True)
class Archive:
    recipe: Recipe
    v1: Path
    v2: Path
    """The same blocks as a CARv2 with an index."""


def prepare(recipe: Recipe, folder: Path) -> Archive:
    """The archive of ``recipe`` in ``folder``, made if it is not there whole."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{recipe.name}-{recipe.blocks}"
    found = Archive(recipe, folder / f"{stem}.car", folder / f"{stem}.v2.car")
    for version, path in ((1, found.v1), (2, found.v2)):
        if not path.exists():
            _write(recipe, path, version)
    if found.v1.stat().st_size != recipe.size:
        raise SystemExit(f"{found.v1} is not what this program makes; remove it")
    return found


def _write(recipe: Recipe, path: Path, version: int) -> None:
    first, _ = next(_blocks(recipe))
    with carv2.create(path, [first], version=version, verify=False) as writer:
        writer.write_all(_blocks(recipe))


def _blocks(recipe: Recipe) -> Iterator[tuple[bytes, bytes]]:
    prefix = bytes([1, recipe.codec, 0x12, 32])
    head = b"" if recipe.codec == RAW else bytes([0x58, recipe.block_size - 2])  # a CBOR byte string
    body = random.Random(1)
    for _ in range(recipe.blocks):
        data = head + body.randbytes(recipe.block_size - len(head))
        yield prefix + hashlib.sha256(data).digest(), data

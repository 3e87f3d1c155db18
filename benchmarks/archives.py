"""The archives that everything is measured on: made once, with a fixed seed, by carv2's own writer.

*small*: dag-cbor blocks of 120 bytes, where the cost of a block counts. *medium*: raw blocks of 4 KiB. *large*:
raw blocks of 1 MiB, where the cost of a byte counts. *tiny*: the small kind, few, for libraries that would take
an hour. In these no block links to another.

Two have the shape of DAGs. *tree*: a folder of many small files and some large ones, packed as UnixFS: dag-pb and
raw blocks. *graph*: dag-cbor nodes of about 150 bytes with eight links each, or none.
"""

from __future__ import annotations

import hashlib
import random
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import carv2
from carv2 import unixfs

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


DAGS = {"tree": 20_000, "graph": 400_000}
"""Small files of the one, nodes of the other."""
_LARGE_FILES, _LARGE_SIZE = 4, 64 << 20
_FAN_OUT = 8


@dataclass(frozen=True)
class Archive:
    name: str
    blocks: int
    block_bytes: int
    """Data of the blocks together."""
    v1: Path
    v2: Path
    """The same blocks as a CARv2 with an index."""
    folder: Path | None = None
    """What was packed into it."""


def prepare(name: str, divisor: int, folder: Path) -> Archive:
    """One of :data:`RECIPES` or :data:`DAGS`, ``divisor`` times smaller; made in ``folder`` if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    if name in DAGS:
        return _prepare_dag(name, divisor, folder)
    return prepare_recipe(RECIPES[name].scaled(divisor), folder)


def prepare_recipe(recipe: Recipe, folder: Path) -> Archive:
    folder.mkdir(parents=True, exist_ok=True)
    v1, v2 = _paths(folder, f"{recipe.name}-{recipe.blocks}")
    for version, path in ((1, v1), (2, v2)):
        if not path.exists():
            _write(recipe, path, version)
    if v1.stat().st_size != recipe.size:
        raise SystemExit(f"{v1} is not what this program makes; remove it")
    return Archive(recipe.name, recipe.blocks, recipe.blocks * recipe.block_size, v1, v2)


def _paths(folder: Path, stem: str) -> tuple[Path, Path]:
    return folder / f"{stem}.car", folder / f"{stem}.v2.car"


def _prepare_dag(name: str, divisor: int, folder: Path) -> Archive:
    many = max(10, DAGS[name] // divisor)
    v1, v2 = _paths(folder, f"{name}-{many}")
    packed = make_files(folder / f"{name}-{many}", many, divisor) if name == "tree" else None
    if not v2.exists():
        if packed is None:
            _write_graph(v2, many)
        else:
            unixfs.pack(packed, v2)
    if not v1.exists():
        carv2.unwrap(v2, v1)
    found = carv2.inspect(v2)
    with carv2.open(v2) as car:
        size = sum(section.size for section in car.sections())
    return Archive(name, found.block_count, size, v1, v2, packed)


def make_files(folder: Path, many: int, divisor: int) -> Path:
    """A folder of ``many`` files of about 1.5 KB in folders of a hundred, and four of 64 MiB."""
    if folder.exists():
        return folder
    made = folder.with_name(folder.name + ".part")
    shutil.rmtree(made, ignore_errors=True)
    for number in range(many):
        path = made / f"{number // 100:03}" / f"file-{number:06}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%06d\n" % number * (50 + number % 300))
    for number in range(_LARGE_FILES):
        data = random.Random(number).randbytes(max(1, _LARGE_SIZE // divisor))
        (made / f"large-{number}.bin").write_bytes(data)
    return made.rename(folder)


def _write_graph(path: Path, many: int) -> None:
    """Nodes in the order of a walk: each before what it links to."""
    body, made = random.Random(2), list[tuple[carv2.CID, bytes]]()
    row = [_node(body, [], 100) for _ in range(max(1, many * (_FAN_OUT - 1) // _FAN_OUT))]
    while True:
        made.extend(row)
        if len(row) == 1:
            break
        row = [_node(body, row[at : at + _FAN_OUT], 60) for at in range(0, len(row), _FAN_OUT)]
    with carv2.create(path, [made[-1][0]], verify=False) as writer:
        writer.write_all(reversed(made))


def _node(body: random.Random, children: list[tuple[carv2.CID, bytes]], size: int) -> tuple[carv2.CID, bytes]:
    """The CBOR of ``{"data": ..., "links": [...]}``."""
    links = b"".join(b"\xd8\x2a\x58\x25\x00" + bytes(cid) for cid, _ in children)
    data = b"\xa2\x64data\x58" + bytes([size]) + body.randbytes(size)
    data += b"\x65links" + bytes([0x80 + len(children)]) + links
    return carv2.CID.of_data(data, codec="dag-cbor"), data


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

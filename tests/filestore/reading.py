"""What tests of readers of ref-CARs share: archives made by hand, without the code under test."""

from __future__ import annotations

import base64
import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

from carv2 import CID
from helpers import archives
from helpers.archives import varint

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LETTERS = ("A", "D")
"""Variants whose keys differ."""


def key_of(leaf: bytes, variant: str = "D") -> bytes:
    """The binary CID that the record of a leaf goes by."""
    text = b"/filestore/" + base64.b32encode(CID(leaf).multihash).rstrip(b"=")
    return archives.identity(text) if variant in "AB" else archives.cid_v1(text)


def record_of(path: Path | str | bytes, offset: int, size: int) -> bytes:
    """A record; a path loses its leading slash."""
    raw = path if isinstance(path, bytes) else os.fsencode(path).lstrip(b"/")
    return b"\x0a" + varint(len(raw)) + raw + b"\x10" + varint(offset) + b"\x18" + varint(size)


class Leaf(NamedTuple):
    """A block that is somewhere in a file, and where."""

    cid: bytes
    data: bytes
    path: Path
    offset: int

    def section(self, variant: str = "D") -> tuple[bytes, bytes]:
        """What stands for it in an archive."""
        return key_of(self.cid, variant), record_of(self.path, self.offset, len(self.data))


def leaves_in(path: Path, size: int = 10) -> list[Leaf]:
    """The leaves of a file, cut into pieces."""
    data = path.read_bytes()
    pieces = [(at, data[at : at + size]) for at in range(0, len(data), size)]
    return [Leaf(archives.cid_v1(piece), piece, path, at) for at, piece in pieces]


def archive_of(
    leaves: Iterable[Leaf], *extra: tuple[bytes, bytes], variant: str = "D", with_index: bool = True
) -> bytes:
    """A ref-CARv2 with one node above all leaves, and the sections ``extra`` behind it."""
    leaves = list(leaves)
    root = archives.node(*(leaf.cid for leaf in leaves))
    return archive_with(
        [root[0]], [root, *extra, *(leaf.section(variant) for leaf in leaves)], with_index=with_index
    )


def archive_with(roots: list[bytes], blocks: list[tuple[bytes, bytes]], *, with_index: bool = True) -> bytes:
    """A CARv2 of any sections."""
    records = archives.records_of(archives.header(roots), blocks)
    index = archives.index_multihash_sorted(records) if with_index else b""
    return archives.v2(archives.v1(roots, blocks), index)


def record_for(leaf: bytes, record: bytes, variant: str = "D") -> bytes:
    """An archive whose only root is ``leaf``, and whose only section is its record, which may be anything."""
    return archive_with([leaf], [(key_of(leaf, variant), record)])


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

"""A DAG to retrieve, and streams of it in any order, made byte by byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cid import CID
from helpers import archives
from helpers.unixfs import Dag

if TYPE_CHECKING:
    from collections.abc import Iterable


def _tree() -> tuple[Dag, bytes]:
    dag = Dag()
    parts = [dag.raw(b"fish" * at) for at in (1, 2, 3)]
    docs = dag.directory({"readme": dag.raw(b"read me"), "again": parts[0]})
    root = dag.directory({"big": dag.file(parts), "docs": docs, "empty": dag.raw(b"")})
    return dag, root.cid


DAG, ROOT_BYTES = _tree()
ROOT = CID.of(ROOT_BYTES)
CHILDREN_FIRST = list(DAG.blocks.items())
"""As they were built."""
PARENTS_FIRST = CHILDREN_FIRST[::-1]
STRAYS = [(archives.cid_v1(data), data) for data in (b"stray", b"another")]
INDEX = {cid: at for at, (cid, _) in enumerate(CHILDREN_FIRST)}


def stream(blocks: Iterable[tuple[bytes, bytes]], *, version: int = 1) -> bytes:
    """A CAR of these blocks; its roots are none, or others."""
    payload = archives.v1([] if version == 1 else [STRAYS[0][0]], list(blocks))
    return payload if version == 1 else archives.v2(payload)


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]

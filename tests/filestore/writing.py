"""What tests of writers of ref-CARs share: trees, and the comparison with the archive that ``pack`` makes."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import carv2
from carv2.filestore import FileReference, key_cid
from carv2.filestore.record import decode
from carv2.unixfs import ImportProfile, pack

if TYPE_CHECKING:
    from pathlib import Path

    from carv2 import CID

SMALL = ImportProfile(name="small", chunk_size=100, file_links=5)

TREE: dict[str, object] = {
    "a": bytes(range(200)) * 3,
    "empty": b"",
    "same": bytes(range(200)) * 3,
    "sub": {"b": b"fish", "to a": "../a", "deep": {"c": bytes(range(256)) * 10}},
    "zeros": bytes(1000),
}


def sections(data: bytes) -> list[tuple[CID, bytes]]:
    """All sections, unchecked: a record never is what its CID says."""
    with carv2.open(data) as car:
        return [(block.cid, block.data) for block in car.blocks(verify=False)]


def packed(path: Path, **options: Any) -> bytes:
    sink = io.BytesIO()
    pack(path, sink, **options)
    return sink.getvalue()


def references_in(archive: bytes, dense: bytes, variant: str = "D") -> list[tuple[CID, FileReference]]:
    """The leaves that ``archive`` refers to: it must be ``dense`` but for them, and they where they should be."""
    found: list[tuple[CID, FileReference]] = []
    for (cid, data), (real, block) in zip(sections(archive), sections(dense), strict=True):
        if cid == real:
            assert data == block
            continue
        assert cid == key_cid(real, variant)
        reference = decode(data)
        with open(os.fsencode(reference.full_path()), "rb") as file:
            file.seek(reference.offset)
            assert file.read(reference.size) == block
        found.append((real, reference))
    return found

"""The DAG of a ref-CARv2, walked without reading the originals."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from carv2.cid import CID, RAW
from carv2.dag.walking import followed
from carv2.errors import CarError, CodecError
from carv2.filestore import record as records

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from carv2.filestore._archive import Archive
    from carv2.filestore.record import FileReference

NODE, LEAF, MISSING, DAMAGED = range(4)


class Met(NamedTuple):
    """Something that a link leads to."""

    kind: int
    """NODE: a block that stands in the archive in full; LEAF: one kept by reference; MISSING; DAMAGED."""
    cid: bytes
    reference: FileReference | None = None
    """Of a leaf whose record can be read."""
    key: bytes = b""
    """Of a leaf: the binary CID of its record."""
    error: CarError | None = None
    """Of what is damaged."""
    size: int = 0
    """Of a node, in bytes."""

    @property
    def is_there(self) -> bool:
        """Whether the archive has it, be it damaged."""
        return self.kind != MISSING


def met_on_walk(roots: Iterable[CID], archive: Archive) -> Iterator[Met]:
    """Each CID that the roots lead to once, depth-first, a node before what it links to.

    A leaf that is kept by reference is a leaf, whatever codec its CID names. What cannot be read is met and not
    followed, and the walk goes on.
    """
    seen: set[bytes] = set()
    levels = [[root.raw for root in roots][::-1]]
    while levels:
        links = levels[-1]
        if not links:
            levels.pop()
            continue
        raw = links.pop()
        if raw in seen:
            continue
        seen.add(raw)
        cid = CID.trusted(raw)
        try:
            data = cid.digest if cid.is_identity else archive.block(cid)
            if data is None:
                yield _leaf(cid, archive)
                continue
            links = [] if cid.codec == RAW else followed(raw, data, on_unknown="raise")
        except CarError as error:
            yield Met(DAMAGED, raw, error=error)
            continue
        yield Met(NODE, raw, size=len(data))
        if links:
            levels.append(links[::-1])


def _leaf(cid: CID, archive: Archive) -> Met:
    found = None
    try:
        found = archive.record(cid)
        if found is None:
            return Met(MISSING, cid.raw)
        return Met(LEAF, cid.raw, records.decode(found.data), found.key)
    except CodecError as error:
        error.cid = cid
        return Met(LEAF, cid.raw, key=b"" if found is None else found.key, error=error)

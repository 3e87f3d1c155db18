"""What ``carv2 list --verbose`` says of a block, in the words of go-car's ``car list -v``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cid import CID, DAG_PB
from carv2.cli import color
from carv2.codec import dag_pb
from carv2.errors import CodecError
from carv2.unixfs import data as unixfs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2 import Block

_SHOWN = 3  # links
_UNIXFS_TYPES = ("Raw", "Directory", "File", "Metadata", "Symlink", "HAMTShard")
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def lines(block: Block) -> Iterator[str]:
    """The lines for a block."""
    cid = block.cid
    yield f"{cid.codec_name}: {cid}"
    if cid.codec != DAG_PB:
        return
    try:
        node = dag_pb.decode(block.data)
    except CodecError as error:
        yield f"\tnot interpretable as dag-pb: {error}"
        return
    yield f"\t{len(node.links)} links. {len(node.data or b'')} bytes"
    for link in node.links[:_SHOWN]:
        name = "<no name>" if link.name is None else color.printable(link.name)
        yield f"\t\t{name}[{si_size(link.size or 0)}] {CID.trusted(link.cid)}"
    if len(node.links) > _SHOWN:
        yield f"\t\t({len(node.links)} total)"
    yield _unixfs_line(node.data)


def _unixfs_line(data: bytes | None) -> str:
    if data is None:  # where go-car ends in a panic
        return "\tnot interpretable as unixfs: no data"
    try:
        return f"\tUnixfs {_UNIXFS_TYPES[unixfs.decode(data).type]}"
    except CodecError as error:
        return f"\tnot interpretable as unixfs: {error.args[0]}"


def fields(block: Block) -> dict[str, object]:
    """The same for ``--json``: the codec, and of a dag-pb node its links and what it is to UnixFS."""
    cid = block.cid
    found: dict[str, object] = {"codec": cid.codec_name}
    if cid.codec == DAG_PB:
        try:
            node = dag_pb.decode(block.data)
            found["links"] = [_link_fields(link) for link in node.links]
            found["unixfs"] = None if node.data is None else _UNIXFS_TYPES[unixfs.decode(node.data).type]
        except CodecError as error:
            found["problem"] = str(error)
    return found


def _link_fields(link: dag_pb.PBLink) -> dict[str, object]:
    name = None if link.name is None else link.name.encode("utf-8", "replace").decode()
    return {"cid": CID.trusted(link.cid), "name": name, "size": link.size}


def si_size(size: int) -> str:
    """A number of bytes in units of 1000, as ``car`` shows it.

    >>> si_size(322), si_size(262158), si_size(1234), si_size(9999)
    ('322 B', '262 kB', '1.2 kB', '10 kB')
    """
    if size < 10:
        return f"{size} B"
    exponent = (len(str(size)) - 1) // 3
    tenths = (size * 10 + 1000**exponent // 2) // 1000**exponent
    number = f"{tenths / 10:.1f}" if tenths < 100 else f"{tenths / 10:.0f}"
    return f"{number} {_UNITS[exponent]}"

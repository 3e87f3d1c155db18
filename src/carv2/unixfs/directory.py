"""The links of directories, plain and sharded (HAMT), each shard checked before its links are believed.

Sources: the UnixFS specification; what of it boxo enforces since CVE-2023-23625. A name that stands where its hash
does not lead is refused: looking it up would not find it. So is a shard that stands at two places of a directory,
whose entries could be right at one of them only: otherwise few shards would be many, even with none of them there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from carv2.cid import CID
from carv2.errors import BlockNotFoundError, UnixFSError
from carv2.multihash import MURMUR3_X64_64
from carv2.unixfs import data as unixfs_data
from carv2.unixfs._hamt_bits import HASH_BITS, bits_of, name_hash, prefix, slot
from carv2.unixfs._node import key_of, parse
from carv2.unixfs._walk import Missing, Want

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    from carv2.codec.dag_pb import PBLink
    from carv2.unixfs._node import Node
    from carv2.unixfs._walk import Walk


class DirLink(NamedTuple):
    """An entry of a directory, or a shard with more of them."""

    cid: bytes
    """The binary CID."""
    name: str
    """Of the entry, as it stands there: it may be anything."""
    size: int | None
    """Tsize: bytes of the DAG behind the link, by the word of whoever wrote it."""
    place: Place | None = None
    """Where the shard is, if this is one; None for an entry."""


class Place(NamedTuple):
    """Where in a sharded directory a shard stands: the bits that the hashes of all its names begin with."""

    bits: int = 0
    """How many of them."""
    value: int = 0


ROOT = Place()


def links_in(node: Node, place: Place = ROOT) -> Iterator[DirLink]:
    """The links of a directory's root, or of the shard at ``place``, in the order they stand.

    Of several entries of one name in a plain directory the first counts.

    Raises:
        UnixFSError: it is no directory, or no shard as it must be.
    """
    if place.bits and node.data.type != unixfs_data.HAMT:
        raise node.broken("a shard of a directory that is none")
    if node.data.type == unixfs_data.HAMT:
        return _links_of_shard(node, place)
    if node.data.type == unixfs_data.DIRECTORY:
        return _links_of_plain(node)
    raise node.broken("no directory, where one is wanted")


def _links_of_plain(node: Node) -> Iterator[DirLink]:
    seen: set[str] = set()
    for link in node.links:
        name = link.name or ""
        if name not in seen:
            seen.add(name)
            yield DirLink(link.cid, name, link.size)


def _links_of_shard(node: Node, place: Place) -> Iterator[DirLink]:
    slots, bits = _slots(node, place)
    used = place.bits + bits
    for at, link in zip(slots, node.links, strict=True):
        name = _name_in(node, link, at, bits)
        here = Place(used, place.value << bits | at)
        if not name:
            yield DirLink(link.cid, "", link.size, here)
            continue
        if name_hash(name.encode("utf-8", "surrogateescape")) >> (HASH_BITS - used) != here.value:
            raise node.broken(f"the entry {name!r} stands where its hash does not lead")
        yield DirLink(link.cid, name, link.size)


def _name_in(node: Node, link: PBLink, at: int, bits: int) -> str:
    """The rest of the name of the link in slot ``at``, behind the slot's number."""
    name, expected = link.name or "", prefix(at, bits)
    if not name.startswith(expected):
        raise node.broken(f"the link in slot {expected} of a shard has the name {name!r}")
    return name[len(expected) :]


def _slots(node: Node, place: Place) -> tuple[list[int], int]:
    """The slots that are taken, ascending, one for each link; and the bits of a hash that the shard takes."""
    data = node.data
    bits = bits_of(data.fanout)
    if bits is None or data.fanout is None:
        raise node.broken(f"a shard of fan-out {data.fanout}, allowed: powers of two from 8 to 1024")
    if data.hash_type != MURMUR3_X64_64:
        raise node.broken(f"a shard with the hash function {data.hash_type}, known: {MURMUR3_X64_64:#x}")
    if place.bits + bits > HASH_BITS:
        raise node.broken(f"a shard {place.bits} bits down, where a hash has {HASH_BITS}")
    field = data.data or b""
    if len(field) > data.fanout // 8:
        raise node.broken(f"a shard of fan-out {data.fanout} with a bit field of {len(field)} bytes")
    slots = _bits_in(int.from_bytes(field, "big"))
    if len(slots) != len(node.links):
        raise node.broken(f"a shard with {len(slots)} bits set and {len(node.links)} links")
    if place.bits and not slots:
        raise node.broken("a shard without entries, below the directory's root")
    return slots, bits


def _bits_in(number: int) -> list[int]:
    """Which bits are set, from the lowest on."""
    found: list[int] = []
    while number:
        lowest = number & -number
        found.append(lowest.bit_length() - 1)
        number ^= lowest
    return found


def note_shard(cid_bytes: bytes, seen: set[bytes]) -> None:
    """Put the shard that a link leads to into ``seen``, which holds all those of one directory so far.

    Raises:
        UnixFSError: it stands there already.
    """
    key = key_of(cid_bytes)
    if key in seen:
        why = "a shard that stands at two places of a directory"
        raise UnixFSError(why, position=0, cid=CID.trusted(cid_bytes))
    seen.add(key)


def walk_links(node: Node, *, path: str, depth: int) -> Walk[DirLink | Missing, None]:
    """The entries of the directory ``node``, through all its shards; their own blocks are not wanted.

    Args:
        node: the directory's root.
        path: the directory's, for the wants.
        depth: the same, links from the walk's root to ``node``.
    """
    stack = [links_in(node)]
    seen: set[bytes] = set()
    while stack:
        link = next(stack[-1], None)
        if link is None:
            stack.pop()
        elif link.place is None:
            yield link
        else:
            note_shard(link.cid, seen)
            try:
                shard = parse(link.cid, (yield Want(link.cid, path, depth + len(stack))))
            except BlockNotFoundError as error:
                yield Missing(path, error.cid, shard=True)
                continue
            stack.append(links_in(shard, link.place))


def look_up(node: Node, name: str, *, path: str, depth: int) -> Walk[NoReturn, tuple[DirLink | None, int]]:
    """Find one entry of the directory ``node``, and the depth of the shard that links to it; of a sharded
    directory, only the shards on the way are wanted.

    Args:
        node: the directory's root.
        name: the entry's.
        path: the directory's, for the wants.
        depth: the same, links from the walk's root to ``node``.
    """
    if node.data.type != unixfs_data.HAMT:
        return next((link for link in links_in(node) if link.name == name), None), depth
    hashed, place = name_hash(name.encode("utf-8", "surrogateescape")), ROOT
    while True:
        found = _in_shard(node, name, hashed, place)
        if found is None or found.place is None:
            return found, depth
        place, depth = found.place, depth + 1
        node = parse(found.cid, (yield Want(found.cid, path, depth)))
        if node.data.type != unixfs_data.HAMT:
            raise node.broken("a shard of a directory that is none")


def _in_shard(node: Node, name: str, hashed: int, place: Place) -> DirLink | None:
    """The entry ``name``, or the shard that would have it."""
    slots, bits = _slots(node, place)
    at = slot(hashed, place.bits, bits)
    if at not in slots:
        return None
    link = node.links[slots.index(at)]
    found = _name_in(node, link, at, bits)
    if not found:
        return DirLink(link.cid, "", link.size, Place(place.bits + bits, place.value << bits | at))
    return DirLink(link.cid, name, link.size) if found == name else None

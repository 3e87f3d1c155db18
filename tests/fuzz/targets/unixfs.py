"""UnixFS: the message in a node, files, and directories, plain and sharded.

A DAG comes as its blocks, each behind two bytes that say how many it has, the root first. A link's CID says by
its last byte which of the blocks behind its own is meant, or that it is none of them; it is then made the right
one, so that the hashes hold: what a store gives is checked before UnixFS sees it.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from carv2.blockstore import MemoryBlockstore
from carv2.cid import CID
from carv2.codec import dag_pb
from carv2.errors import BlockNotFoundError, BudgetError, CodecError
from carv2.unixfs import data, directory, entry, file, list_links, open_file, read, resolve, walk_entries
from carv2.unixfs._hamt_bits import HASH_BITS
from carv2.unixfs._node import Node, parse
from carv2.unixfs._walk import finish
from carv2.unixfs.path import names_of
from fuzz.target import REFUSED, Sabotage, Target

if TYPE_CHECKING:
    from carv2.unixfs import Entry, Link

MOST_ENTRIES, MOST_BLOCKS = 60, 12
MOST_PAYLOAD = 8 << 10
"""Bytes of a file that are read: a small archive can hold exabytes."""

ABSENT = CID.of_data(b"a block that is not there", codec="dag-pb").raw


# -- the message ----------------------------------------------------------------------------------------------


def check_data(raw: bytes) -> str:
    try:
        found = data.decode(raw)
    except CodecError as error:
        assert 0 <= error.position <= len(raw)
        return REFUSED
    written = data.encode(found)
    assert data.decode(written) == found
    if written == raw:
        return "as Kubo writes it"
    assert data.encode(data.decode(written)) == written
    return "another form"


_DECODE, _ENCODE = data.decode, data.encode

DATA = Target(
    "unixfs-data",
    check_data,
    frozenset({"as Kubo writes it", "another form", REFUSED}),
    {
        "loses block sizes": Sabotage(
            data, "encode", lambda value: _ENCODE(value._replace(blocksizes=value.blocksizes[1:]))
        ),
        "keeps more than 32 bits of a mode": Sabotage(
            data, "decode", lambda raw: _DECODE(raw)._replace(mode=len(raw))
        ),
        "raises what is not its own": Sabotage(
            data, "_checked_type", lambda value: [0, 1, 2, 3, 4, 5][value or 0]
        ),
    },
    max_size=512,
    words=(b"\x08\x02", b"\x08\x05", b"\x12\x04fish", b"\x28\x22", b"\x30\x80\x02", b"\x42\x02\x08\x01", b"\x15"),
)


# -- DAGs -----------------------------------------------------------------------------------------------------


def dag_of(raw: bytes) -> tuple[MemoryBlockstore, CID]:
    """The DAG that an input describes, and its root."""
    pieces: list[bytes] = []
    at = 0
    while at < len(raw) and len(pieces) < MOST_BLOCKS:
        size = int.from_bytes(raw[at : at + 2], "big")
        pieces.append(raw[at + 2 : at + 2 + size])
        at += 2 + size
    store, cids = MemoryBlockstore(), list[bytes]()
    for piece in reversed(pieces or [b""]):
        cids.insert(0, _put(store, piece, cids))
    return store, CID(cids[0])


def _put(store: MemoryBlockstore, piece: bytes, behind: list[bytes]) -> bytes:
    """Put a block, with its links made those to the blocks ``behind`` it; return its CID."""
    try:
        node = dag_pb.decode(piece)
    except CodecError:  # then it is a leaf
        cid = CID.of_data(piece)
        store.put(cid, piece)
        return cid.raw
    links = [link._replace(cid=_target(link.cid, behind)) for link in node.links]
    block = dag_pb.encode(node._replace(links=links))
    cid = CID.of_data(block, codec="dag-pb", version=len(piece) & 1)
    store.put(cid, block)
    return cid.raw


def _target(cid: bytes, behind: list[bytes]) -> bytes:
    if CID.trusted(cid).is_identity:
        return cid
    return (*behind, ABSENT)[cid[-1] % (len(behind) + 1)]


def payload_of(store: MemoryBlockstore, cid: CID, start: int, stop: int) -> bytes | None:
    """Bytes of a file; None if it does not hold what it says."""
    try:
        return b"".join(read(store, cid, start, stop))
    except (CodecError, BudgetError, BlockNotFoundError):
        return None


def check_file(raw: bytes) -> str:
    """A file read whole, in parts, and through the object for it gives the same."""
    store, root = dag_of(raw)
    whole = payload_of(store, root, 0, MOST_PAYLOAD)
    if whole is None:
        return "file that breaks off" if _opens(store, root) else REFUSED
    assert len(whole) <= MOST_PAYLOAD
    for start, stop in itertools.pairwise((0, 1, len(whole) // 3, len(whole) // 2, len(whole))):
        if start < stop:
            assert payload_of(store, root, start, stop) == whole[start:stop]
    with open_file(store, root) as opened:
        assert opened.read(len(whole)) == whole
        opened.seek(len(whole) // 2)
        assert opened.read(5) == whole[len(whole) // 2 :][:5] or len(whole) == MOST_PAYLOAD
        size = opened.seek(0, 2)
    assert size >= len(whole)
    assert size == len(whole) or len(whole) == MOST_PAYLOAD
    return "file of several blocks" if len(store) > 1 and whole else "file"


def _opens(store: MemoryBlockstore, root: CID) -> bool:
    try:
        open_file(store, root).close()
    except (CodecError, BlockNotFoundError):
        return False
    return True


_WALK_PAYLOAD, _SIZE_OF = file.walk_payload, file.size_of

FILES = Target(
    "unixfs-files",
    check_file,
    frozenset({"file", "file of several blocks", "file that breaks off", REFUSED}),
    {
        "ends too early": Sabotage(
            file, "_cut", lambda block, at, start, stop: block[max(0, start - at) : stop - at - 1]
        ),
        "gives more than was asked for": Sabotage(file, "_cut", lambda block, at, start, stop: block),
        "says another size": Sabotage(file, "size_of", lambda node: _SIZE_OF(node) + 1),
    },
)


# -- directories ----------------------------------------------------------------------------------------------


def check_directory(raw: bytes) -> str:
    """What a walk finds is found by its path, and what a directory lists by its name."""
    store, root = dag_of(raw)
    missing: list[object] = []
    entries: list[Entry] = []
    try:
        entries.extend(walk_entries(store, root, max_entries=MOST_ENTRIES, on_missing=missing.append))
        end = "whole"
    except (CodecError, BlockNotFoundError):
        end = REFUSED
    except BudgetError:
        end = "too much"
    if not any("/" in found.name for found in entries):  # no path leads to what is called that
        for found in entries[:20]:
            _check_found(store, root, found)
    if end != "whole":
        return end
    if entries and entries[0].kind == "directory":
        _check_listed(store, root)
    return "missing" if missing else "tree" if len(entries) > 1 else "alone"


def _check_found(store: MemoryBlockstore, root: CID, found: Entry) -> None:
    """By its path the same is found, unless that means something else, as ``..`` and the empty name do."""
    if found.path and found.path == "/".join(names_of_or_nothing(found.path)):
        again = resolve(store, root, found.path)
        assert (again.path, again.cid, again.kind) == (found.path, found.cid, found.kind)
        assert (again.size, again.target) == (found.size, found.target)


def _check_listed(store: MemoryBlockstore, root: CID) -> None:
    """Of a plain directory, the first link of each name."""
    node = parse(root.raw, store[root])
    if node.data.type == data.DIRECTORY:
        first = {link.name or "": link.cid for link in reversed(node.links)}
        assert {link.name: link.cid.raw for link in list_links(store, root)} == first


def names_of_or_nothing(path: str) -> tuple[str, ...]:
    """The names along a path; none if it leads out."""
    try:
        return names_of(path)
    except ValueError:
        return ()


_LINKS_OF_PLAIN, _ENTRY_OF = directory._links_of_plain, entry._entry_of

DIRECTORIES = Target(
    "unixfs-directories",
    check_directory,
    frozenset({"tree", "alone", "missing", "too much", REFUSED}),
    {
        "says another name for a path": Sabotage(
            entry, "_entry_of", lambda node, path, name: replace(_ENTRY_OF(node, path, name), path=path.upper())
        ),
        "finds the last of a name": Sabotage(
            directory, "_links_of_plain", lambda node: _LINKS_OF_PLAIN(node._replace(links=node.links[::-1]))
        ),
        "raises what is not its own": Sabotage(entry, "_entry_of", lambda *_: next(iter(()))),
    },
    words=(
        b"\x0a\x02\x08\x01",
        b"\x0a\x22\x12\x20",
        b"\x0a\x24\x01\x55\x12\x20",
        b"\x0a\x05\x01\x55\x00\x01",
        b"..",
        b"\x12\x01a",
    ),
)


def check_hamt(raw: bytes) -> str:
    """Each name that a sharded directory lists is found where its hash leads, and others are not."""
    store, root = dag_of(raw)
    try:
        node = parse(root.raw, store[root])
    except CodecError:
        return REFUSED
    if node.data.type != data.HAMT:
        return REFUSED
    links: list[Link] = []
    missing: list[object] = []
    try:
        for link in list_links(store, root, on_missing=missing.append):
            links.append(link)
            assert len(links) <= 8 * len(raw)
        end = "missing" if missing else "whole"
    except CodecError:
        end = "broken off"
    for link in links[:30]:
        found, depth = finish(store, directory.look_up(node, link.name, path="", depth=0))
        assert found is not None
        assert (found.cid, found.name, found.size) == (link.cid.raw, link.name, link.size)
        assert depth <= HASH_BITS // 3
        end = "deep" if depth and end == "whole" else end
    assert len({link.name for link in links}) == len(links)
    assert _finds_nothing(store, node, {link.name for link in links})
    return end


def _finds_nothing(store: MemoryBlockstore, node: Node, names: set[str]) -> bool:
    """Whether names that are not listed are not found, as far as the shards are there and sound."""
    for name in ("x", "y", "zz"):
        try:
            found, _ = finish(store, directory.look_up(node, name, path="", depth=0))
        except (CodecError, BlockNotFoundError):
            continue
        if found is not None and name not in names:
            return False
    return True


HAMT = Target(
    "unixfs-hamt",
    check_hamt,
    frozenset({"whole", "deep", "missing", "broken off", REFUSED}),
    {
        "takes names where their hashes do not lead": Sabotage(
            directory,
            "_links_of_shard",
            lambda node, _: (directory.DirLink(link.cid, (link.name or "")[2:], link.size) for link in node.links),
        ),
        "goes on without a bit": Sabotage(directory, "slot", lambda hashed, used, bits: (hashed >> used) & 7),
        "finds what is not there": Sabotage(
            directory, "_in_shard", lambda node, name, *_: directory.DirLink(node.cid_bytes, name, 1)
        ),
        "raises what is not its own": Sabotage(directory, "bits_of", lambda fanout: int(fanout).bit_length() - 1),
    },
    words=(
        b"\x08\x05",
        b"\x28\x22\x30\x80\x02",
        b"\x28\x22\x30\x08",
        b"\x0a\x22\x12\x20",
        b"\x12\x02F0",
        b"\x12\x011",
    ),
)

TARGETS = (DATA, FILES, DIRECTORIES, HAMT)

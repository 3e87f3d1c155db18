"""How a file becomes a DAG: by a model that builds the tree from the definition, top down."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carv2.unixfs import ImportProfile, import_file, profile_of
from unixfs_import.decoding import Archive, Node

CHUNK = 4
SMALL = ImportProfile(name="small", chunk_size=CHUNK, file_links=3)


def blocks_of(data: Any, profile: ImportProfile, **options: Any) -> tuple[bytes, dict[bytes, bytes]]:
    found: dict[bytes, bytes] = {}
    root = import_file(data, lambda cid, block: found.update({bytes(cid): block}), profile=profile, **options)
    return bytes(root), found


def shape(archive: Archive, cid: bytes) -> object:
    """The tree as nested lists, leaves as bytes."""
    block = archive.block(cid)
    if cid[1] == 0x55:
        return block
    node = Node(block)
    return [shape(archive, link) for _, link, _ in node.links] if node.links else node.data


def balanced(leaves: list[bytes], width: int, *, collapse: bool) -> object:
    """Kubo's balanced builder: a tree just deep enough, filled from the left, each branch of full depth.

    go-unixfsnode's is the same, but a node that would have one link is that link.
    """
    depth = 0
    while width**depth < len(leaves):
        depth += 1
    rest = iter(leaves)
    left = len(leaves)

    def fill(level: int) -> object:
        nonlocal left
        if level == 0:
            left -= 1
            return next(rest)
        children: list[object] = []
        while left and len(children) < width:
            children.append(fill(level - 1))
        return children[0] if collapse and len(children) == 1 else children

    return fill(depth)


SIZES = [*range(2, 29), 31, 32, 33, 63, 64, 65, 80, 81, 82, 124, 125, 126]  # around powers of the widths


@pytest.mark.parametrize("last_link", ["node", "collapse"])
@pytest.mark.parametrize("leaves", ["raw", "file"])
@pytest.mark.parametrize("width", [2, 3, 5])
def test_the_tree_is_the_one_of_the_definition(width: int, leaves: Any, last_link: Any) -> None:
    profile = dataclasses.replace(SMALL, file_links=width, leaves=leaves, last_link=last_link)
    for size in [*range(2 * CHUNK + 2), *(count * CHUNK for count in SIZES), 130 * CHUNK - 1]:
        data = bytes(number % 251 for number in range(size))
        chunks = [data[at : at + CHUNK] for at in range(0, size, CHUNK)] or [b""]
        cid, blocks = blocks_of(data, profile)
        archive = Archive(blocks)
        assert shape(archive, cid) == balanced(chunks, width, collapse=last_link == "collapse"), size
        assert archive.content(cid) == data
        archive.tsize(cid)
        assert archive.asked == set(blocks)


def test_a_file_of_one_chunk_may_be_a_node() -> None:
    profile = dataclasses.replace(SMALL, single_chunk="node")
    for data, expected in ((b"", [b""]), (b"fish", [b"fish"]), (b"lobster", [b"lobs", b"ter"])):
        cid, blocks = blocks_of(data, profile)
        assert shape(Archive(blocks), cid) == expected


def test_links_may_go_without_a_name() -> None:
    named, bare = (
        Node(blocks_of(b"lobster", dataclasses.replace(SMALL, empty_names=empty))[1].popitem()[1])
        for empty in (True, False)
    )
    assert [name for name, _, _ in named.links] == [b"", b""]
    assert [name for name, _, _ in bare.links] == [None, None]
    assert [link[1:] for link in named.links] == [link[1:] for link in bare.links]


def test_tsize_may_count_the_payload_alone() -> None:
    profile = dataclasses.replace(SMALL, tsize="payload")
    cid, blocks = blocks_of(bytes(range(100)), profile)
    root = Node(blocks[cid])
    assert [size for _, _, size in root.links] == root.message[4]
    assert sum(root.message[4]) == 100  # type: ignore[arg-type]


MIB = 1 << 20
INLINED = {0: True, 1: True, 126: True, 127: False, MIB: False, MIB + 1: True, MIB + 52: True, MIB + 53: False}
INLINED |= {MIB + 126: False, MIB + 127: True, 2 * MIB: True, 2 * MIB + 1: False}


def test_small_blocks_of_lotus_are_in_their_cids() -> None:
    data = b"".join(number.to_bytes(4, "big") for number in range(MIB))
    for size, is_inlined in INLINED.items():
        cid, blocks = blocks_of(data[:size], profile_of("lotus"))
        assert Archive(blocks).content(cid) == data[:size]
        assert all(len(block) > 126 for block in blocks.values())
        assert (cid[2] == 0) == is_inlined, size
        assert len(cid) < 132


PIECES = st.lists(st.binary(max_size=30), max_size=12)


@settings(deadline=None)
@given(
    pieces=PIECES,
    workers=st.sampled_from([1, 3]),
    chunk=st.integers(1, 20),
    leaves=st.sampled_from(["raw", "file"]),
)
def test_it_does_not_matter_in_which_pieces_a_file_comes(
    pieces: list[bytes], workers: int, chunk: int, leaves: Any
) -> None:
    data = b"".join(pieces)
    profile = dataclasses.replace(SMALL, chunk_size=chunk, leaves=leaves)
    whole = blocks_of(data, profile)
    assert Archive(whole[1]).content(whole[0]) == data
    assert blocks_of(pieces, profile, workers=workers) == whole
    assert blocks_of(io.BytesIO(data), profile, workers=workers) == whole


class Dribble(io.RawIOBase):
    """A file that gives a byte at a time."""

    def __init__(self, data: bytes) -> None:
        self._rest = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._rest.read(min(1, size))


def test_a_file_may_give_little_at_a_time() -> None:
    data = bytes(range(200))
    assert blocks_of(Dribble(data), SMALL) == blocks_of(data, SMALL)


@pytest.mark.parametrize("leaves", ["raw", "file"])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_threads_change_nothing(workers: int, leaves: Any) -> None:
    profile = dataclasses.replace(SMALL, chunk_size=64 << 10, file_links=7, leaves=leaves)
    data = b"".join(number.to_bytes(4, "big") for number in range(300_000))[:-1]
    order: list[bytes] = []
    root = import_file(data, lambda cid, _block: order.append(bytes(cid)), profile=profile, workers=workers)
    cid, blocks = blocks_of(data, profile, workers=1)
    assert bytes(root) == cid
    assert order == list(blocks)
    assert Archive(blocks).content(cid) == data


def test_progress_counts_every_byte() -> None:
    seen: list[int] = []
    import_file(bytes(1000), lambda _cid, _block: None, profile=SMALL, on_progress=seen.append)
    assert sum(seen) == 1000


def test_an_error_of_the_store_comes_through_and_ends_the_threads() -> None:
    def put(_cid: object, _block: bytes) -> None:
        raise OSError(28, "No space left on device")

    profile = dataclasses.replace(SMALL, chunk_size=64 << 10)
    with pytest.raises(OSError, match="No space left"):
        import_file(bytes(10 << 20), put, profile=profile, workers=4)

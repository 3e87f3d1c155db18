"""What other programs packed: the trees that are in it, and what of them is missing."""

from __future__ import annotations

import hashlib

import pytest

from carv2.blockstore import ReadOnlyBlockstore
from carv2.errors import BlockNotFoundError
from carv2.unixfs import Missing, list_links, read, resolve, walk_entries
from helpers.shared import shared_fixture


def opened(name: str) -> ReadOnlyBlockstore:
    return ReadOnlyBlockstore(shared_fixture(name).read_bytes())


def test_go_cars_sample_folder() -> None:
    store = opened("go-car-cli/simple-unixfs.car")
    entries = list(walk_entries(store, store.roots[0]))
    files = {entry.path: b"".join(read(store, entry.cid)) for entry in entries if entry.kind == "file"}
    letters = iter("ABCDEFGHI")
    expected = {}
    for number, folder in zip(range(1, 10), "aaabbbccc", strict=True):
        letter = next(letters)
        expected[f"{folder}/{number}/{letter}.txt"] = f"{folder}{number}{letter}\n".encode()
    assert files == expected
    assert sum(entry.kind == "directory" for entry in entries) == 1 + 3 + 9


def test_its_missing_blocks_are_the_three_that_go_car_names() -> None:
    store = opened("go-car-cli/simple-unixfs-missing-blocks.car")
    missing: list[Missing] = []
    entries = list(walk_entries(store, store.roots[0], on_missing=missing.append))
    assert [(item.path, item.shard) for item in missing] == [("b/4", False), ("b/5/E.txt", False), ("b/6", False)]
    assert sum(entry.kind == "file" for entry in entries) == 6
    below = [entry.kind for entry in walk_entries(store, store.roots[0], "b", on_missing=missing.append)]
    assert below == ["directory", "directory"]


def test_the_one_article_in_a_sharded_wikipedia() -> None:
    store = opened("go-car-cli/wikipedia-cryptographic-hash-function.car")
    root = store.roots[0]
    entry = resolve(store, root, "wiki/Cryptographic_hash_function")
    payload = b"".join(read(store, entry.cid))
    assert (len(payload), entry.size) == (125785, 125785)
    assert payload.startswith(b"<!DOCTYPE html>")
    missing: list[Missing] = []
    wiki = resolve(store, root, "wiki")
    links = list(list_links(store, wiki.cid, on_missing=missing.append))
    names = [link.name for link in links]
    assert len(missing) == 570  # car extract: "570 unknown sharded entries"
    assert len(names) == len(set(names)) == 101
    assert "Cryptographic_hash_function" in names
    assert [link.name for link in links if link.cid in store] == ["Cryptographic_hash_function"]
    with pytest.raises(BlockNotFoundError):
        resolve(store, root, "wiki/Hash_function")


def test_a_file_in_pieces_and_every_range_of_it_that_begins_or_ends_at_one() -> None:
    store = opened("gateway-conformance/path_gateway_unixfs/dir-with-files.car")
    entry = resolve(store, store.roots[0], "multiblock.txt")
    payload = b"".join(read(store, entry.cid))
    assert entry.size == len(payload) == 1026
    edges = sorted({0, 1, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 1026, 2000})
    for start in edges:
        for stop in edges:
            assert b"".join(read(store, entry.cid, start, stop)) == payload[start:stop]


TREES = {
    "gateway-conformance/path_gateway_unixfs/symlink.car": {"bar": "-> foo", "foo": "content\n"},
    "gateway-conformance/path_gateway_unixfs/dir-with-percent-encoded-filename.car": {
        "Portugal%2C+España=Peninsula Ibérica.txt": "hello from a percent encoded filename\n"
    },
    "gateway-conformance/path_gateway_dag/dag-pb.car": {
        "foo/bar.txt": "Hello, world!\n",
        "foo.txt": "Hello, IPFS!\n",
    },
    "gateway-conformance/gateway-cache/fixtures.car": {"root2/root3/root4/index.html": "hello\n"},
    "go-car/sample-unixfs-v2.car": {"a/b.txt": "hello world\n"},
}


@pytest.mark.parametrize("name", TREES)
def test_small_trees(name: str) -> None:
    store = opened(name)
    found = {}
    for entry in walk_entries(store, store.roots[0]):
        if entry.kind == "file":
            found[entry.path] = b"".join(read(store, entry.cid)).decode()
        elif entry.kind == "symlink":
            found[entry.path] = f"-> {entry.target}"
    assert found == TREES[name]


def test_the_specifications_own_example_has_dag_pb_that_is_no_unixfs() -> None:
    store = opened("spec/carv1-basic.car")
    kinds = {resolve(store, cid).kind for cid in store}
    assert kinds == {"unknown", "file"}


def test_every_raw_file_hashes_to_its_own_cid() -> None:
    store = opened("gateway-conformance/path_gateway_unixfs/dir-with-files.car")
    found = {entry.name: entry for entry in walk_entries(store, store.roots[0]) if entry.cid.codec_name == "raw"}
    assert set(found) == {"ascii-copy.txt", "ascii.txt", "hello.txt"}
    for entry in found.values():
        assert hashlib.sha256(b"".join(read(store, entry.cid))).digest() == entry.cid.digest

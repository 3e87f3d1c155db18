"""Paths: what they say, and where they lead."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carv2 import CID
from carv2.errors import BlockNotFoundError, CodecError, PathNotFoundError, UnixFSError
from carv2.unixfs import read, resolve
from carv2.unixfs.path import names_of, split_path
from helpers import archives
from helpers.unixfs import Dag, Made, pb_node
from unixfs_read.stores import Counting, store_of

EMPTY = "bafkqaaa"

PATHS = {
    "": (),
    "/": (),
    "a": ("a",),
    "/a/": ("a",),
    "a//b": ("a", "b"),
    "./a/./b/.": ("a", "b"),
    "a/../b": ("b",),
    "a/b/../../c/d": ("c", "d"),
    "a/..": (),
    "...": ("...",),
    "a b/ü": ("a b", "ü"),
    "..a/a..": ("..a", "a.."),
}


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_its_names(path: str) -> None:
    assert names_of(path) == PATHS[path]


@pytest.mark.parametrize("path", ["..", "/..", "a/../..", "a/../../a", "../a", "./.."])
def test_a_path_does_not_lead_out_of_its_root(path: str) -> None:
    with pytest.raises(ValueError, match="leads out"):
        names_of(path)


@given(st.lists(st.sampled_from(["a", "b", ".", "..", ""]), max_size=8).map("/".join))
def test_paths_are_normalised_as_everywhere_else(path: str) -> None:
    if posixpath.normpath(f"x/{path.lstrip('/')}").split("/")[0] != "x":
        with pytest.raises(ValueError, match="leads out"):
            names_of(path)
    else:
        assert "/" + "/".join(names_of(path)) == posixpath.normpath(f"/{path.lstrip('/')}")


SPLIT = {
    f"/ipfs/{EMPTY}": (EMPTY, ""),
    f"/ipfs/{EMPTY}/a/b": (EMPTY, "a/b"),
    f"ipfs://{EMPTY}/a": (EMPTY, "a"),
    "/ipfs/QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn/": (
        "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn",
        "",
    ),
    "a/b": (None, "a/b"),
    "/ipfs/photos": (None, "/ipfs/photos"),
    "/ipfs": (None, "/ipfs"),
    "": (None, ""),
    EMPTY: (None, EMPTY),
}


@pytest.mark.parametrize("text", SPLIT)
def test_a_path_may_name_its_root(text: str) -> None:
    root, path = SPLIT[text]
    assert split_path(text) == (None if root is None else CID.of(root), path)


def tree() -> tuple[Dag, Made]:
    dag = Dag()
    fish = dag.leaf(b"fish")
    folder = dag.directory(
        {"fish": fish, "link": dag.symlink(b"fish"), "big": dag.file([dag.raw(b"a"), dag.raw(b"b")])}
    )
    return dag, dag.directory({"folder": folder, "sharded": dag.hamt({"folder": folder})})


@pytest.mark.parametrize("path", ["folder/fish", "/sharded/folder/fish/", "sharded/../folder/./fish"])
def test_a_path_leads_to_its_entry(path: str) -> None:
    dag, root = tree()
    entry = resolve(store_of(dag), root.cid, path)
    assert (entry.name, entry.kind, entry.size) == ("fish", "file", 4)
    assert entry.path == "/".join(names_of(path))


def test_symlinks_are_shown_and_not_followed() -> None:
    dag, root = tree()
    assert resolve(store_of(dag), root.cid, "folder/link").target == "fish"
    with pytest.raises(PathNotFoundError, match="no 'fish'"):
        resolve(store_of(dag), root.cid, "folder/link/fish")


def test_what_is_not_there_is_named_with_what_was_looked_through() -> None:
    dag, root = tree()
    with pytest.raises(PathNotFoundError) as caught:
        resolve(store_of(dag), root.cid, "folder/fowl/feather")
    error = caught.value
    assert (error.path, error.segment) == ("folder/fowl/feather", "fowl")
    assert error.cid == resolve(store_of(dag), root.cid, "folder").cid
    for path in ("folder/fish/x", "folder/big/0", "nothing"):
        with pytest.raises(PathNotFoundError):
            resolve(store_of(dag), root.cid, path)


def test_the_root_is_an_entry_without_a_name() -> None:
    dag, root = tree()
    for path in ("", "/", "."):
        entry = resolve(store_of(dag), root.cid, path)
        assert (entry.path, entry.name, bytes(entry.cid), entry.kind) == ("", "", root.cid, "directory")


def test_a_path_reads_what_is_on_it_and_the_entry() -> None:
    dag, root = tree()
    store = store_of(dag)
    resolve(store, root.cid, "folder/fish")
    assert len(store.read) == 3


def test_a_missing_block_on_the_way_is_named() -> None:
    dag, root = tree()
    folder = resolve(store_of(dag), root.cid, "folder").cid
    del dag.blocks[bytes(folder)]
    with pytest.raises(BlockNotFoundError) as caught:
        resolve(store_of(dag), root.cid, "folder/fish")
    assert caught.value.cid == folder


def test_a_raw_block_at_the_end_is_not_looked_for() -> None:
    dag = Dag()
    fish = dag.raw(b"fish")
    root = dag.directory({"fish": fish})
    del dag.blocks[fish.cid]
    assert resolve(store_of(dag), root.cid, "fish").size == 4
    with pytest.raises(BlockNotFoundError):
        list(read(store_of(dag), fish.cid))


def values() -> tuple[Dag, Made]:
    dag = Dag()
    folder = dag.directory({"fish": dag.raw(b"fish")})
    inner = dag.put(b"\x82\x01" + archives.link(folder.cid), codec=archives.DAG_CBOR)
    body = b"\xa3\x61a\xa1\x61b" + archives.link(inner.cid) + b"\x61n\xf6\x62to" + archives.link(folder.cid)
    return dag, dag.put(body, codec=archives.DAG_CBOR)


def test_a_path_may_lead_through_dag_cbor() -> None:
    dag, root = values()
    store = store_of(dag)
    assert resolve(store, root.cid, "to/fish").kind == "file"
    assert resolve(store, root.cid, "a/b/1/fish").kind == "file"
    assert resolve(store, root.cid, "a/b/1").kind == "directory"
    inside = resolve(store, root.cid, "a/b/0")
    assert (inside.kind, inside.path, inside.cid) == ("unknown", "a/b/0", resolve(store, root.cid, "a/b").cid)
    assert bytes(resolve(store, root.cid, "n").cid) == root.cid
    for path in ("x", "a/x", "a/b/2", "a/b/-1", "a/b/00000000001", "a/b/¹", "n/x", "to/fish/x"):
        with pytest.raises(PathNotFoundError):
            resolve(store, root.cid, path)


def test_a_path_through_what_is_no_unixfs_is_an_error() -> None:
    dag = Dag()
    made = dag.node([(b"a", dag.raw(b"x"))], None)
    with pytest.raises(UnixFSError, match="without UnixFS"):
        resolve(store_of(dag), made.cid, "a")
    with pytest.raises(CodecError):
        resolve(store_of(dag), dag.put(b"\xff", codec=archives.DAG_CBOR).cid, "a")
    with pytest.raises(PathNotFoundError):
        resolve(store_of(dag), dag.raw(b"x").cid, "a")


def test_the_empty_name_is_looked_up_in_no_directory() -> None:
    dag = Dag()
    root = dag.directory({"": dag.directory({"x": dag.raw(b"x")})})
    with pytest.raises(PathNotFoundError):
        resolve(store_of(dag), root.cid, "//x")


def test_names_that_are_no_text_are_found_by_their_surrogates() -> None:
    dag = Dag()
    root = dag.directory({b"\xff": dag.raw(b"x")})
    assert resolve(store_of(dag), root.cid, b"\xff".decode("utf-8", "surrogateescape")).kind == "file"
    shard = dag.hamt({"ü": dag.raw(b"x")})
    assert resolve(store_of(dag), shard.cid, "ü").kind == "file"


def test_a_mapping_will_do_for_a_store() -> None:
    cid = archives.cid_v1(b"fish")
    assert list(read(Counting({cid: b"fish"}), cid)) == [b"fish"]
    assert list(read(Counting({}), archives.identity(b"id"))) == [b"id"]
    assert list(read({CID(cid): b"fish"}, cid)) == [b"fish"]
    with pytest.raises(BlockNotFoundError):
        list(read({}, cid))


def test_the_root_may_be_given_as_anything_that_is_a_cid() -> None:
    block = pb_node([], b"\x08\x01")
    cid = CID(archives.cid_v0(block))
    for root in (cid, str(cid), bytes(cid), f"/ipfs/{cid}"):
        assert resolve(Counting({bytes(cid): block}), root).kind == "directory"
    with pytest.raises(ValueError):
        resolve(Counting({}), "no cid")

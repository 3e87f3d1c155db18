"""The recipes of the page on Bluesky repositories, taken from it and run on trees that the page does not show."""

from __future__ import annotations

import doctest
import functools
import os
import runpy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import carv2
from carv2.codec import dag_cbor
from helpers.shared import shared_folder

TOP = Path(__file__).resolve().parents[2]
PAGE = TOP / "docs/how-to/read-a-bluesky-repository.md"


@functools.cache
def recipes() -> dict[str, Any]:
    """The functions that the page defines, by name."""
    found: dict[str, Any] = {}
    exec("import carv2\nfrom carv2.codec import dag_cbor\nimport hashlib", found)
    for example in doctest.DocTestParser().get_examples(PAGE.read_text()):
        if example.source.startswith("def "):
            exec(example.source, found)
    return found


@functools.cache
def maker() -> dict[str, Any]:
    return runpy.run_path(str(TOP / "fixtures/make_repositories.py"))


def cid_of(number: int) -> carv2.CID:
    return carv2.CID.of_data(b"%d" % number, codec="dag-cbor")


def tree_of(records: dict[str, carv2.CID]) -> tuple[dict[carv2.CID, bytes], carv2.CID]:
    blocks: dict[carv2.CID, bytes] = {}
    return blocks, maker()["tree"](blocks, records)


VALUE = carv2.CID.of("bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454")
KNOWN = {  # atproto's interop tests: the last part of the keys, and the root of their tree
    (): "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm",
    ("3jqfcqzm3fo2j",): "bafyreibj4lsc3aqnrvphp5xmrnfoorvru4wynt6lwidqbm2623a6tatzdu",
    ("3jqfcqzm3fx2j",): "bafyreih7wfei65pxzhauoibu3ls7jgmkju4bspy4t2ha2qdjnzqvoy33ai",
    ("3jqfcqzm3fp2j", "3jqfcqzm3fr2j", "3jqfcqzm3fs2j", "3jqfcqzm3ft2j", "3jqfcqzm4fc2j"):
        "bafyreicmahysq4n6wfuxo522m6dpiy7z7qzym3dzs756t5n7nfdgccwq7m",
}  # fmt: skip


@pytest.mark.parametrize("keys", KNOWN)
def test_trees_have_the_roots_that_others_give_them(keys: tuple[str, ...]) -> None:
    blocks, root = tree_of({f"com.example.record/{key}": VALUE for key in keys})
    assert str(root) == KNOWN[keys]
    assert [key for key, _ in recipes()["records"](blocks, root)] == [f"com.example.record/{key}" for key in keys]


TREES = st.dictionaries(st.integers(0, 60).map("a.b/{:02}".format), st.integers(0, 2).map(cid_of), max_size=40)


@given(TREES)
def test_the_walk_gives_all_records_in_order(records: dict[str, carv2.CID]) -> None:
    assert list(recipes()["records"](*tree_of(records))) == sorted(records.items())


@given(TREES, TREES)
def test_changes_are_those_of_the_records(before: dict[str, carv2.CID], now: dict[str, carv2.CID]) -> None:
    old, old_root = tree_of(before)
    new, new_root = tree_of(now)
    assert list(recipes()["changes"](old, old_root, new, new_root)) == [
        (key, before.get(key), now.get(key))
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]


class Counting(dict[carv2.CID, bytes]):
    """A store that counts what is read from it."""

    def __init__(self, blocks: dict[carv2.CID, bytes]) -> None:
        super().__init__(blocks)
        self.asked: set[carv2.CID] = set()

    def __getitem__(self, cid: carv2.CID) -> bytes:
        self.asked.add(cid)
        return super().__getitem__(cid)


@pytest.mark.parametrize("key", ["a.b/00000", "a.b/02500", "a.b/02500x", "a.b/99999", "a.a/1", "a.c/1"])
def test_one_change_in_five_thousand_records_reads_little(key: str) -> None:
    before = {f"a.b/{number:05}": cid_of(number) for number in range(5000)}
    old, old_root = tree_of(before)
    new, new_root = tree_of({**before, key: VALUE})
    old, new = Counting(old), Counting(new)
    assert list(recipes()["changes"](old, old_root, new, new_root)) == [(key, before.get(key), VALUE)]
    assert len(old) > 1000
    assert len(old.asked) < 60
    assert len(new.asked) < 60


def node(entries: list[dict[str, object]], left: carv2.CID | None = None) -> tuple[carv2.CID, bytes]:
    data = dag_cbor.encode({"l": left, "e": entries})
    return carv2.CID.of_data(data, codec="dag-cbor"), data


def entry(key: bytes, shared: int = 0) -> dict[str, object]:
    return {"p": shared, "k": key, "v": VALUE, "t": None}


def test_a_tree_that_is_out_of_order_is_refused() -> None:
    root, data = node([entry(b"b"), entry(b"a")])
    with pytest.raises(ValueError, match="the key b'a' behind b'b'"):
        list(recipes()["records"]({root: data}, root))


def test_a_tree_of_too_many_levels_is_refused() -> None:
    cid, blocks = None, {}
    for _ in range(100):
        cid, data = node([], cid)
        blocks[cid] = data
    with pytest.raises(ValueError, match="a tree of more than 64 levels"):
        list(recipes()["records"](blocks, cid))


def test_a_missing_node_is_told_and_not_passed_over() -> None:
    blocks, root = tree_of({f"a.b/{number:02}": cid_of(number) for number in range(60)})
    missing = next(cid for cid in blocks if cid != root)
    del blocks[missing]
    with pytest.raises(KeyError):
        list(recipes()["records"](blocks, root))


def test_the_fixtures_are_what_their_script_makes(tmp_path: Path) -> None:
    maker()["main"].__globals__["HERE"] = tmp_path
    maker()["main"]()
    names = {"first.car", "second.car", "message.bin"}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (TOP / "fixtures/repository" / name).read_bytes(), name


def test_repositories_of_others() -> None:
    """A folder of real ones, for those who have it: ``fixtures/atproto/*.car`` beside the checkout."""
    found = sorted((shared_folder() / "fixtures/atproto").glob("*.car"))
    if not found:
        pytest.skip(f"no repositories in {os.fspath(shared_folder())}/fixtures/atproto")
    for path in found:
        blocks = {block.cid: block.data for block in carv2.open(path)}
        commit = dag_cbor.decode(blocks[carv2.open(path).roots[0]])
        keys = [key for key, _ in recipes()["records"](blocks, commit["data"])]
        assert keys == sorted(keys)
        assert carv2.verify(path, profile="dasl").ok, path

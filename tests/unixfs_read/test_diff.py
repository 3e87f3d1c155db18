"""Two trees compared path by path: against a model of nested dicts, and only where they differ."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carv2 import CID, unixfs
from carv2.blockstore import ReadOnlyBlockstore
from carv2.errors import BlockNotFoundError, BudgetError, UnixFSError
from carv2.unixfs import _budget
from helpers.unixfs import Dag, Made
from unixfs_read.stores import Counting, store_of

NAMES = st.sampled_from(["a", "b", "c", "d", "ü"])
TREES: Any = st.recursive(
    st.binary(max_size=2) | st.builds(lambda target: ("link", target), st.binary(max_size=2)),
    lambda children: st.dictionaries(NAMES, children, max_size=4),
    max_leaves=12,
)
DIRECTORIES = st.dictionaries(NAMES, TREES, max_size=5)


def built(dag: Dag, tree: Any, *, fanout: int | None = None) -> Made:
    """A nested dict as a directory, bytes as a file, a pair as a symlink."""
    if isinstance(tree, bytes):
        return dag.raw(tree)
    if isinstance(tree, tuple):
        return dag.symlink(tree[1])
    entries = {name: built(dag, tree[name], fanout=fanout) for name in sorted(tree)}
    return dag.directory(entries) if fanout is None or not entries else dag.hamt(entries, fanout=fanout)


def kind(tree: Any) -> type:
    return type(tree)


def model(old: Any, new: Any, path: str = "") -> list[tuple[str, str]]:
    """What should be told of two nested dicts."""
    found = []
    for name in sorted({*old, *new}):
        below = f"{path}/{name}" if path else name
        one, other = old.get(name), new.get(name)
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            found += model(one, other, below)
        elif one is not None and other is not None and kind(one) == kind(other):
            found.append(("changed", below))
        else:
            found += [("removed", below)] * (one is not None) + [("added", below)] * (other is not None)
    return found


def told(changes: Any) -> list[tuple[str, str]]:
    return [(change.change, change.path) for change in changes]


@given(DIRECTORIES, DIRECTORIES, st.sampled_from([None, 8, 256]))
def test_what_is_told_is_what_the_model_tells(old: Any, new: Any, fanout: int | None) -> None:
    dag = Dag()
    before, after = built(dag, old, fanout=fanout), built(dag, new, fanout=fanout)
    store = store_of(dag)
    changes = list(unixfs.diff_paths(store, before.cid, store, after.cid))
    assert told(changes) == model(old, new)
    for change in changes:
        assert (change.before is None) == (change.change == "added")
        assert (change.after is None) == (change.change == "removed")


def test_a_plain_and_a_sharded_directory_of_the_same_entries_do_not_differ() -> None:
    dag = Dag()
    tree = {f"{at}": b"%d" % at for at in range(100)}
    plain, sharded = built(dag, tree), built(dag, tree, fanout=8)
    store = store_of(dag)
    assert told(unixfs.diff_paths(store, plain.cid, store, sharded.cid)) == []


def test_what_is_the_same_is_not_read() -> None:
    dag = Dag()
    same = {f"d{at}": {f"{n}": b"%d %d" % (at, n) for n in range(10)} for at in range(10)}
    before = built(dag, {**same, "x": {"y": {"z": b"1"}}})
    after = built(dag, {**same, "x": {"y": {"z": b"2"}}})
    store = Counting(dag.blocks)
    assert told(unixfs.diff_paths(store, before.cid, store, after.cid)) == [("changed", "x/y/z")]
    assert len(set(store.read)) == 6  # three directories of each tree


def test_equal_roots_are_not_even_looked_for() -> None:
    root = CID.of_data(b"nowhere", codec="dag-pb")
    v0 = CID.of_data(b"nowhere", codec="dag-pb", version=0)
    assert list(unixfs.diff_paths({}, root, {}, v0)) == []
    with pytest.raises(BlockNotFoundError):
        list(unixfs.diff_paths(Counting({}), root, Counting({}), CID.of_data(b"elsewhere", codec="dag-pb")))


def test_files_at_the_roots_are_compared_too() -> None:
    dag = Dag()
    one, other, link = dag.raw(b"1"), dag.leaf(b"2"), dag.symlink(b"x")
    store = store_of(dag)
    assert told(unixfs.diff_paths(store, one.cid, store, other.cid)) == [("changed", "")]
    assert told(unixfs.diff_paths(store, one.cid, store, link.cid)) == [("removed", ""), ("added", "")]
    assert told(unixfs.diff_paths(store, dag.directory({}).cid, store, one.cid)) == [
        ("removed", ""),
        ("added", ""),
    ]


def test_entries_tell_what_stands_there() -> None:
    dag = Dag()
    before = dag.directory({"a": dag.leaf(b"12345"), "s": dag.symlink(b"a")})
    after = dag.directory({"a": dag.raw(b"123"), "d": dag.directory({"x": dag.raw(b"y")})})
    store = store_of(dag)
    changed, added, removed = unixfs.diff_paths(store, before.cid, store, after.cid)
    assert changed.before is not None
    assert changed.after is not None
    assert (changed.before.size, changed.after.size, changed.before.kind) == (5, 3, "file")
    assert added.after is not None
    assert (added.after.kind, added.after.path, added.after.name) == ("directory", "d", "d")
    assert removed.before is not None
    assert (removed.before.kind, removed.before.target) == ("symlink", "a")


def test_what_is_missing_is_no_difference() -> None:
    """Of an entry whose block is not there only the CID is known; a shard that is not there may hold anything."""
    dag = Dag()
    lost = dag.directory({"x": dag.raw(b"x")})
    before = dag.directory({"a": lost, "b": dag.raw(b"1")})
    after = dag.directory({"a": dag.directory({"x": dag.raw(b"y")}), "b": dag.raw(b"2"), "c": lost})
    store = Counting({cid: data for cid, data in dag.blocks.items() if cid != lost.cid})
    changes = list(unixfs.diff_paths(store, before.cid, store, after.cid))
    assert told(changes) == [("changed", "a"), ("changed", "b"), ("added", "c")]
    assert changes[0].before is not None
    assert changes[0].before.kind == "unknown"


def test_of_a_directory_without_all_its_shards_the_rest_is_compared() -> None:
    dag = Dag()
    entries = {f"{at}": dag.raw(b"%d" % at) for at in range(200)}
    whole = dag.hamt(entries, fanout=8)
    shards = {cid for cid in dag.blocks if cid[1] == 0x70 and cid != whole.cid}
    changed = dag.hamt({**entries, "7": dag.raw(b"seven")}, fanout=8)
    both = Counting(dag.blocks)
    common = shards & set(links_of_all(both, changed.cid))
    gone = min(common)
    partial = Counting({cid: data for cid, data in dag.blocks.items() if cid != gone})
    assert told(unixfs.diff_paths(both, whole.cid, both, changed.cid)) == [("changed", "7")]
    for one, other in ((both, partial), (partial, both), (partial, partial)):
        assert told(unixfs.diff_paths(one, whole.cid, other, changed.cid)) == [
            ("incomplete", ""),
            ("changed", "7"),
        ]


def links_of_all(store: Counting, root: bytes) -> list[bytes]:
    """All blocks of a directory, by reading it."""
    store.read.clear()
    list(unixfs.list_links(store, root))
    return list(store.read)


@pytest.mark.parametrize("depth", [10, 3000])
def test_depth_is_bounded_and_nothing_recurses(depth: int) -> None:
    dag = Dag()
    one, other = dag.raw(b"1"), dag.raw(b"2")
    for _ in range(depth):
        one, other = dag.directory({"d": one}), dag.directory({"d": other})
    store = store_of(dag)
    if depth < 1000:
        assert told(unixfs.diff_paths(store, one.cid, store, other.cid)) == [("changed", "/".join("d" * depth))]
    else:
        with pytest.raises(BudgetError, match="1024 directories"):
            list(unixfs.diff_paths(store, one.cid, store, other.cid))
        deep = unixfs.diff_paths(store, one.cid, store, other.cid, max_depth=depth)
        assert len(told(deep)) == 1


def bomb(dag: Dag, leaf: bytes) -> Made:
    """13 blocks with 10**12 files."""
    made = dag.raw(leaf)
    for _ in range(12):
        made = dag.directory({f"{at}": made for at in range(10)})
    return made


def test_a_small_archive_that_holds_a_huge_tree_comes_to_the_end_of_the_budget() -> None:
    dag = Dag()
    one, other = bomb(dag, b"1"), bomb(dag, b"2")
    assert len(dag.blocks) == 26
    store = store_of(dag)
    with pytest.raises(BudgetError, match="5000 entries"):
        list(unixfs.diff_paths(store, one.cid, store, other.cid, max_entries=5000))


def test_the_budget_for_archives_follows_from_their_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_budget, "_FEW_ENTRIES", 100)
    one, other = (dag.archive(bomb(dag, leaf)) for dag, leaf in ((Dag(), b"1"), (Dag(), b"2")))
    with ReadOnlyBlockstore(one) as a, ReadOnlyBlockstore(other) as b:
        with pytest.raises(BudgetError, match="allow more with max_entries") as caught:
            list(unixfs.diff_paths(a, a.roots[0], b, b.roots[0]))
        assert caught.value.allowed == (len(one) + len(other)) // 4
        with pytest.raises(BudgetError) as caught:
            list(unixfs.diff_paths(a, a.roots[0], b, b.roots[0], max_entries=50))
        assert caught.value.allowed == 50
    both = Dag()
    archive = both.archive(bomb(both, b"1"), bomb(both, b"2"))
    with ReadOnlyBlockstore(archive) as store, pytest.raises(BudgetError) as caught:
        list(unixfs.diff_paths(store, store.roots[0], store, store.roots[1]))
    assert caught.value.allowed == len(archive) // 4


def test_missing_shards_count_as_entries_do() -> None:
    dag = Dag()
    gone = [dag.leaf(b"%d" % at) for at in range(512)]
    one, other = (
        dag.shard([(b"%02X" % at, made) for at, made in enumerate(half)], b"\xff" * 32)
        for half in (gone[:256], gone[256:])
    )
    store = Counting({made.cid: dag.blocks[made.cid] for made in (one, other)})
    assert told(unixfs.diff_paths(store, one.cid, store, other.cid, max_entries=512)) == [("incomplete", "")]
    with pytest.raises(BudgetError, match="511 entries"):
        list(unixfs.diff_paths(store, one.cid, store, other.cid, max_entries=511))


def test_a_broken_directory_is_an_error() -> None:
    dag = Dag()
    broken = dag.shard([], b"\x01", fanout=256)
    store = store_of(dag)
    with pytest.raises(UnixFSError):
        list(unixfs.diff_paths(store, broken.cid, store, dag.directory({"a": dag.raw(b"1")}).cid))


def test_names_come_as_they_are_whatever_they_are() -> None:
    dag = Dag()
    before = dag.directory({})
    after = dag.directory([(b"..", dag.raw(b"1")), (b"a/b", dag.raw(b"2")), (b"\xff", dag.raw(b"3"))])
    store = store_of(dag)
    assert [path for _, path in told(unixfs.diff_paths(store, before.cid, store, after.cid))] == [
        "..",
        "a/b",
        "\udcff",
    ]

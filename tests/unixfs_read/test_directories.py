"""Directories, plain and sharded: what is listed, what is found, what is refused, what is read for it."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carv2 import CID
from carv2.errors import BlockNotFoundError, BudgetError, CarError, CodecError, PathNotFoundError, UnixFSError
from carv2.unixfs import Entry, Missing, list_directory, list_links, read, resolve, walk_entries
from helpers import archives
from helpers.unixfs import (
    DIRECTORY,
    FILE,
    HAMT,
    METADATA,
    MURMUR3,
    SYMLINK,
    Dag,
    Made,
    hash_of,
    identity,
    number,
    pb_node,
    text,
    unixfs,
)
from unixfs_read.stores import Bounded, Counting, store_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    Tree: TypeAlias = "Mapping[str, Tree | bytes]"

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=6).filter(
    lambda name: name not in {".", ".."}
)
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.dictionaries(NAMES, st.binary(max_size=4), max_size=4),
    lambda inner: st.dictionaries(NAMES, inner | st.binary(max_size=4), max_size=12),
    max_leaves=12,
)


def build(dag: Dag, tree: Tree | bytes, draw: st.DataObject) -> Made:
    """The tree with directories of any kind."""
    if isinstance(tree, bytes):
        return dag.leaf(tree) if draw.draw(st.booleans()) else dag.raw(tree)
    entries = {name: build(dag, inner, draw) for name, inner in tree.items()}
    fanout = draw.draw(st.sampled_from([0, 8, 16, 256, 1024]))
    return dag.hamt(entries, fanout=fanout) if fanout else dag.directory(entries)


def flat(tree: Tree, base: str = "") -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = {}
    for name, inner in tree.items():
        if isinstance(inner, bytes):
            found[base + name] = inner
        else:
            found[base + name] = None
            found.update(flat(inner, f"{base}{name}/"))
    return found


@given(tree=TREES, draw=st.data())
def test_a_walk_finds_what_was_put_there_and_paths_lead_to_it(tree: Tree, draw: st.DataObject) -> None:
    dag = Dag()
    root = build(dag, tree, draw)
    store, expected = store_of(dag), flat(tree)
    first, *entries = walk_entries(store, root.cid)
    assert (first.path, first.name, bytes(first.cid), first.kind) == ("", "", root.cid, "directory")
    assert {entry.path for entry in entries} == expected.keys()
    assert len(entries) == len(expected)
    seen = {""}
    for entry in entries:
        base, _, name = entry.path.rpartition("/")
        assert base in seen  # directories before what they hold
        seen.add(entry.path)
        assert entry.name == name
        found = resolve(store, root.cid, entry.path)
        assert (found.cid, found.kind, found.path, found.name) == (entry.cid, entry.kind, entry.path, entry.name)
        payload = expected[entry.path]
        assert entry.kind == ("directory" if payload is None else "file")
        if payload is not None:
            assert b"".join(read(store, entry.cid)) == payload


@given(tree=TREES, draw=st.data())
def test_the_three_ways_to_list_agree(tree: Tree, draw: st.DataObject) -> None:
    dag = Dag()
    root = build(dag, tree, draw)
    store = store_of(dag)
    names = [link.name for link in list_links(store, root.cid)]
    assert [entry.name for entry in list_directory(store, root.cid)] == names
    assert [entry.name for entry in walk_entries(store, root.cid) if "/" not in entry.path][1:] == names
    assert sorted(names) == sorted(tree)


@pytest.mark.parametrize("fanout", [8, 16, 32, 64, 128, 256, 512, 1024])
def test_a_look_up_reads_the_shards_on_the_way_and_nothing_else(fanout: int) -> None:
    dag = Dag()
    names = [f"entry {at}" for at in range(2000)]
    root = dag.hamt({name: dag.raw(name.encode()) for name in names}, fanout=fanout)
    bits = fanout.bit_length() - 1
    store = store_of(dag)
    for name in names[::97]:
        store.read.clear()
        assert bytes(resolve(store, root.cid, name).cid) == archives.cid_v1(name.encode())
        assert len(store.read) <= 64 // bits
        assert all(cid[1] == archives.DAG_PB for cid in store.read)
    for name in ("nothing", "entry 2000", "entry", ""):
        with pytest.raises(PathNotFoundError):
            resolve(store, root.cid, f"{name or 'x'}/x")


def test_entries_say_what_they_are() -> None:
    dag = Dag()
    fish = dag.raw(b"fish")
    with_times = unixfs(FILE, b"old", size=3, tail=number(7, 0o644) + text(8, number(1, 1700000000)))
    entries: dict[str | bytes, Made] = {
        "raw": fish,
        "inline": identity(b"here", codec=archives.RAW)._replace(total=99),
        "leaf": dag.leaf(b"lobster"),
        "no size": dag.node([(b"", fish)], unixfs(FILE, b"x", sizes=[4])),
        "tree": dag.file([fish, fish]),
        "plain": dag.directory({}),
        "sharded": dag.hamt({"a": fish}),
        "link": dag.symlink(b"../\xff"),
        "times": dag.node([], with_times),
        "metadata": dag.node([], unixfs(METADATA, b"")),
        "cbor": dag.put(b"\xa0", codec=archives.DAG_CBOR),
        "no unixfs": dag.node([], None),
        "no protobuf": dag.put(b"\xff", codec=archives.DAG_PB),
    }
    root = dag.directory(entries)
    found = {entry.name: entry for entry in list_directory(store_of(dag), root.cid)}
    assert {name: (entry.kind, entry.size) for name, entry in found.items()} == {
        "raw": ("file", 4),
        "inline": ("file", 4),
        "leaf": ("file", 7),
        "no size": ("file", 5),
        "tree": ("file", 8),
        "plain": ("directory", None),
        "sharded": ("directory", None),
        "link": ("symlink", None),
        "times": ("file", 3),
        "metadata": ("unknown", None),
        "cbor": ("unknown", None),
        "no unixfs": ("unknown", None),
        "no protobuf": ("unknown", None),
    }
    assert found["link"].target == "../\udcff"
    assert (found["times"].mode, found["times"].mtime) == (0o644, (1700000000, 0))
    assert [entry.target for entry in found.values() if entry.kind != "symlink"] == [None] * 12


def test_raw_blocks_are_listed_without_being_read() -> None:
    dag = Dag()
    root = dag.directory({f"{at}": dag.raw(b"%d" % at) for at in range(100)})
    store = store_of(dag)
    assert len(list(walk_entries(store, root.cid))) == 101
    assert store.read == [root.cid]


def test_names_are_given_as_they_stand() -> None:
    names = [b"..", b".", b"a/b", b"/etc/passwd", b"\xff\xfe", b"nul\0", b"", "naïve".encode()]
    dag = Dag()
    root = dag.directory({name: dag.raw(name) for name in names})
    for list_them in (list_links, list_directory):
        found = [entry.name for entry in list_them(store_of(dag), root.cid)]
        assert [name.encode("utf-8", "surrogateescape") for name in found] == names


def test_of_two_entries_of_one_name_the_first_counts() -> None:
    dag = Dag()
    root = dag.directory([(b"a", dag.raw(b"first")), (b"b", dag.raw(b"b")), (b"a", dag.raw(b"second"))])
    store = store_of(dag)
    assert [link.name for link in list_links(store, root.cid)] == ["a", "b"]
    assert b"".join(read(store, resolve(store, root.cid, "a").cid)) == b"first"


def test_a_name_that_is_not_there_is_the_empty_one_and_no_path_leads_to_it() -> None:
    dag = Dag()
    root = dag.directory([(None, dag.raw(b"x")), (b"", dag.raw(b"y"))])
    (link,) = list_links(store_of(dag), root.cid)
    assert (link.name, bytes(link.cid)) == ("", archives.cid_v1(b"x"))
    assert resolve(store_of(dag), root.cid, "/").path == ""


# -- missing blocks ---------------------------------------------------------------------------------------------


def test_what_is_missing_is_told_and_the_rest_goes_on() -> None:
    dag = Dag()
    lost_file, lost_folder = dag.leaf(b"lost"), dag.directory({"x": dag.raw(b"x")})
    root = dag.directory(
        {"a": dag.directory({"f": lost_file, "g": dag.leaf(b"g")}), "b": lost_folder, "c": dag.raw(b"c")}
    )
    for lost in (lost_file, lost_folder):
        del dag.blocks[lost.cid]
    store = store_of(dag)
    told: list[Missing] = []
    paths = [entry.path for entry in walk_entries(store, root.cid, on_missing=told.append)]
    assert paths == ["", "a", "a/g", "c"]
    assert told == [
        Missing("a/f", CID(lost_file.cid), shard=False),
        Missing("b", CID(lost_folder.cid), shard=False),
    ]
    with pytest.raises(BlockNotFoundError):
        list(walk_entries(store, root.cid))
    with pytest.raises(BlockNotFoundError):
        resolve(store, root.cid, "a/f")
    with pytest.raises(BlockNotFoundError):
        resolve(store, root.cid, "b/x")
    with pytest.raises(BlockNotFoundError):
        list(walk_entries(store, lost_folder.cid, on_missing=told.append))


def test_missing_shards_are_told_as_such() -> None:
    dag = Dag()
    names = [f"{at}" for at in range(60)]
    root = dag.hamt({name: dag.raw(name.encode()) for name in names}, fanout=16)
    top = dag.directory({"d": root})
    shards = [cid for cid in dag.blocks if cid[1] == archives.DAG_PB and cid not in {root.cid, top.cid}]
    for cid in shards[:3]:
        del dag.blocks[cid]
    told: list[Missing] = []
    entries = list(walk_entries(store_of(dag), top.cid, on_missing=told.append))
    assert {entry.name for entry in entries[2:]} < set(names)
    assert all(missing.shard and missing.path == "d" for missing in told)
    assert {bytes(missing.cid) for missing in told} == set(shards[:3])
    told_again: list[Missing] = []
    links = list(list_links(store_of(dag), root.cid, on_missing=told_again.append))
    assert len(links) == len(entries) - 2
    assert {missing.cid for missing in told_again} == {missing.cid for missing in told}
    with pytest.raises(BlockNotFoundError):
        list(list_links(store_of(dag), root.cid))


# -- what is refused --------------------------------------------------------------------------------------------


def one_name(slot: int, bits: int = 8, used: int = 0) -> str:
    """A name that belongs into a slot."""
    return next(
        n for n in map(str, itertools.count()) if hash_of(n) >> (64 - used - bits) & ((1 << bits) - 1) == slot
    )


ZERO = one_name(0)
FIVE = one_name(5)


class Shard(NamedTuple):
    """A HAMT node, and what of it must be named."""

    message: str
    bitfield: bytes = b"\x01"
    links: tuple[bytes | None, ...] = (b"00" + ZERO.encode(),)
    fanout: int | None = 256
    hash_type: int | None = MURMUR3

    def made(self, dag: Dag) -> Made:
        leaf = dag.raw(b"x")
        links = [(name, leaf) for name in self.links]
        return dag.node(links, unixfs(HAMT, self.bitfield, hash_type=self.hash_type, fanout=self.fanout))


FANOUTS = {
    f"fan-out {fanout}": Shard(f"fan-out {fanout}, allowed", fanout=fanout)
    for fanout in (None, 0, 1, 2, 4, 7, 24, 100, 255, 2048, 1 << 20, 1 << 63)
}
SHARDS = {
    **FANOUTS,
    "another hash function": Shard("hash function 18", hash_type=0x12),
    "no hash function": Shard("hash function None", hash_type=None),
    "a bit field that is too long": Shard("bit field of 33 bytes", bytes(33)),
    "a bit field that is far too long": Shard("bit field of 1048576 bytes", bytes(1 << 20)),
    "fewer links than bits": Shard("2 bits set and 1 links", b"\x03"),
    "more links than bits": Shard("1 bits set and 2 links", links=(b"00a", b"01b")),
    "links without bits": Shard("0 bits set and 1 links", b""),
    "a prefix of another slot": Shard("in slot 00", links=(b"01" + ZERO.encode(),)),
    "a lower-case prefix": Shard("in slot 0A", b"\x04\x00", (b"0a" + one_name(10).encode(),)),
    "a short prefix": Shard("in slot 00", links=(b"0",)),
    "a name that is not there": Shard("in slot 00", links=(None,)),
    "a prefix that is too wide": Shard("in slot 05", b"\x20", (b"005" + FIVE.encode(),)),
    "links out of order": Shard("in slot 00", b"\x21", (b"05" + FIVE.encode(), b"00" + ZERO.encode())),
    "an entry in another's slot": Shard("hash does not lead", links=(b"00" + FIVE.encode(),)),
}


@pytest.mark.parametrize("case", SHARDS)
def test_a_shard_that_cannot_be_is_named(case: str) -> None:
    dag = Dag()
    root = SHARDS[case].made(dag)
    with pytest.raises(UnixFSError, match=SHARDS[case].message) as caught:
        list(list_links(store_of(dag), root.cid))
    assert caught.value.cid == CID(root.cid)


@pytest.mark.parametrize("case", SHARDS)
def test_a_look_up_refuses_the_same_or_finds_nothing(case: str) -> None:
    dag = Dag()
    root = SHARDS[case].made(dag)
    name = FIVE if case == "a prefix that is too wide" else one_name(10) if "lower-case" in case else ZERO
    with pytest.raises(
        (UnixFSError, PathNotFoundError),
        match=None if "hash does" in SHARDS[case].message else SHARDS[case].message,
    ):
        resolve(store_of(dag), root.cid, name)


def below(dag: Dag, child: Made) -> Made:
    return dag.shard([(b"00", child)], b"\x01")


def test_a_shard_below_must_be_one_and_hold_something() -> None:
    dag = Dag()
    cases = {
        "that is none": dag.directory({"x": dag.raw(b"x")}),
        "without entries": dag.shard([], b""),
        "another codec|dag-pb": dag.raw(b"x"),
        "where its hash": dag.shard([(b"00" + FIVE.encode(), dag.raw(b"x"))], b"\x01"),
    }
    for message, child in cases.items():
        root = below(dag, child)
        with pytest.raises(CodecError, match=message if "|" not in message else "none"):
            list(list_links(store_of(dag), root.cid))
    for child in (cases["that is none"], cases["another codec|dag-pb"]):
        with pytest.raises(UnixFSError, match="that is none"):
            resolve(store_of(dag), below(dag, child).cid, ZERO)


def test_the_depth_of_shards_ends_with_the_hash() -> None:
    """An entry whose hash begins with 56 zeros cannot be had for the asking: the chain is never believed."""
    dag = Dag()
    made = dag.shard([(b"00" + ZERO.encode(), dag.raw(b"x"))], b"\x01")
    for _ in range(10):
        made = below(dag, made)
    with pytest.raises(UnixFSError, match="where a hash has 64"):
        list(list_links(store_of(dag), made.cid))
    with pytest.raises((UnixFSError, PathNotFoundError)):
        resolve(store_of(dag), made.cid, ZERO)


def test_a_shard_in_two_places_is_refused_before_it_multiplies() -> None:
    """256 links to one shard at each of eight levels would be 2**64 entries."""
    dag = Dag()
    made = dag.shard([(b"%02X" % 5 + FIVE.encode(), dag.raw(b"x"))], b"\x20")
    for _ in range(7):
        made = dag.shard([(b"%02X" % at, made) for at in range(256)], b"\xff" * 32)
    store = store_of(dag)
    with pytest.raises(UnixFSError, match="where its hash does not lead"):
        list(list_links(store, made.cid))
    assert len(store.read) < 20


def bomb_of_missing_shards(dag: Dag, fanout: int = 256, levels: int = 5) -> Made:
    """Shards that lead nowhere but to each other, and the lowest ones to one that is not there."""
    made, width = dag.leaf(b"lost"), len(f"{fanout - 1:X}")
    del dag.blocks[made.cid]
    for _ in range(levels):
        links = [(f"{at:0{width}X}".encode(), made) for at in range(fanout)]
        made = dag.shard(links, b"\xff" * (fanout // 8), fanout=fanout)
    return made


@pytest.mark.parametrize("list_them", [list_links, list_directory, walk_entries])
@pytest.mark.parametrize("fanout", [8, 256, 1024])
def test_a_missing_shard_in_two_places_is_refused_before_it_multiplies(list_them: Any, fanout: int) -> None:
    dag = Dag()
    made = bomb_of_missing_shards(dag, fanout)
    store = Bounded(dag.blocks, enough=20)
    told: list[Missing] = []
    with pytest.raises(UnixFSError, match="at two places"):
        list(list_them(store, made.cid, on_missing=told.append))
    assert len(told) == 1


def test_a_shard_may_be_part_of_several_directories() -> None:
    dag = Dag()
    slot_zero = (name for name in map(str, itertools.count()) if hash_of(name) >> 56 == 0)
    common = {name: dag.raw(b"x") for name in itertools.islice(slot_zero, 2)}
    one, other = dag.hamt(common), dag.hamt({**common, FIVE: dag.raw(b"y")})
    root = dag.directory({"one": one, "other": other})
    assert len(dag.blocks) == 2 + 3 + 1  # of the files, the two directories, the root
    entries = [entry.name for entry in walk_entries(store_of(dag), root.cid) if entry.kind == "file"]
    assert sorted(entries) == sorted([*common, *common, FIVE])


def test_fanouts_may_differ_from_level_to_level() -> None:
    """boxo takes that; each level just uses up its own bits."""
    dag = Dag()
    used = 3
    slot = hash_of("name") >> (64 - used)
    inner = dag.hamt({"name": dag.raw(b"x")}, fanout=1024, used=used)
    root = dag.shard([(b"%X" % slot, inner)], bytes([1 << slot]), fanout=8)
    assert [link.name for link in list_links(store_of(dag), root.cid)] == ["name"]
    assert resolve(store_of(dag), root.cid, "name").kind == "file"


@pytest.mark.parametrize("kind", [FILE, SYMLINK, METADATA])
def test_what_is_no_directory_is_not_listed(kind: int) -> None:
    dag = Dag()
    made = dag.node([], unixfs(kind, b"x"))
    for list_them in (list_links, list_directory):
        with pytest.raises(UnixFSError, match="no directory"):
            list(list_them(store_of(dag), made.cid))
    assert [entry.path for entry in walk_entries(store_of(dag), made.cid)] == [""]


@pytest.mark.parametrize("kind", [DIRECTORY, HAMT])
@given(data=st.binary(max_size=40), names=st.lists(st.binary(max_size=4), max_size=5), junk=st.binary(max_size=12))
def test_whatever_a_directory_holds_there_are_entries_or_a_named_error(
    kind: int, data: bytes, names: list[bytes], junk: bytes
) -> None:
    dag = Dag()
    leaf = dag.raw(b"x")
    valid = unixfs(kind, data, hash_type=MURMUR3, fanout=256, tail=junk)
    block = pb_node([(leaf.cid, name, 1) for name in names], valid)
    made = dag.put(block, codec=archives.DAG_PB)
    for walk in (list_links, list_directory, walk_entries):
        try:
            list(walk(store_of(dag), made.cid))
        except CarError as error:
            assert isinstance(error, CodecError)  # noqa: PT017


# -- size -------------------------------------------------------------------------------------------------------


def nested(dag: Dag, depth: int) -> Made:
    made = dag.raw(b"x")
    for _ in range(depth):
        made = dag.directory({"d": made})
    return made


def test_directories_inside_each_other_are_bounded() -> None:
    dag = Dag()
    made = nested(dag, 1024)
    entries = list(walk_entries(store_of(dag), made.cid))
    assert len(entries) == 1025
    assert entries[-1].path == "/".join("d" * 1024)
    with pytest.raises(BudgetError, match="1024"):
        list(walk_entries(store_of(dag), nested(dag, 1026).cid))
    with pytest.raises(BudgetError, match="more than 3 "):
        list(walk_entries(store_of(dag), nested(dag, 6).cid, max_depth=3))


def test_a_path_may_be_as_deep_as_it_says() -> None:
    dag = Dag()
    made = nested(dag, 5000)
    assert resolve(store_of(dag), made.cid, "d/" * 5000).kind == "file"


def test_a_huge_tree_in_a_few_blocks_is_given_entry_by_entry_up_to_a_budget() -> None:
    dag = Dag()
    made = dag.raw(b"x")
    for _ in range(9):
        made = dag.directory({f"{at:02}": made for at in range(64)})
    store = store_of(dag)
    assert len(list(itertools.islice(walk_entries(store, made.cid), 1000))) == 1000
    assert len(store.read) < 1100
    with pytest.raises(BudgetError, match="more than 500 entries"):
        list(walk_entries(store, made.cid, max_entries=500))
    assert len(list(walk_entries(store_of(dag), nested(dag, 4).cid, max_entries=5))) == 5


def test_what_is_missing_counts_as_entries_do() -> None:
    dag = Dag()
    made = dag.leaf(b"lost")
    del dag.blocks[made.cid]
    made = dag.directory({f"{at:02}": made for at in range(64)})
    for _ in range(3):
        made = dag.directory({f"{at:02}": made for at in range(64)})
    told: list[Missing] = []
    with pytest.raises(BudgetError, match="more than 500 entries"):
        list(walk_entries(store_of(dag), made.cid, max_entries=500, on_missing=told.append))
    assert 400 < len(told) < 500


def test_a_cycle_ends_in_an_error() -> None:
    cid = archives.cid_v1(b"", codec=archives.DAG_PB)
    store = Counting({cid: pb_node([(cid, b"d", 1), (cid, b"e", 1)], unixfs(DIRECTORY))})
    with pytest.raises(BudgetError):
        list(walk_entries(store, cid))
    shard = pb_node([(cid, b"00", 1), (cid, b"01", 1)], unixfs(HAMT, b"\x03", hash_type=MURMUR3, fanout=256))
    with pytest.raises(UnixFSError):
        list(walk_entries(Counting({cid: shard}), cid))


def test_directories_inside_identities_end_with_their_size() -> None:
    dag = Dag()
    made = identity(pb_node([], unixfs(DIRECTORY)))
    depth = 0
    while len(block := pb_node([(made.cid, b"d", 1)], unixfs(DIRECTORY))) <= 128:
        made, depth = identity(block), depth + 1
    assert len(list(walk_entries(store_of(dag), made.cid))) == depth + 1
    with pytest.raises(UnixFSError, match="limit 128"):
        list(walk_entries(store_of(dag), identity(block + bytes(0)).cid))


def test_many_entries_take_time_in_proportion() -> None:
    """Ten times the entries, ten times as long; a hundred times would be the square."""

    def seconds(count: int, kind: str) -> float:
        dag = Dag()
        leaf = dag.raw(b"x")
        entries = {f"{at:06}": leaf for at in range(count)}
        made = dag.hamt(entries) if kind == "hamt" else dag.directory(entries)
        best = 1e9
        for _ in range(3):
            start = time.process_time()
            assert sum(1 for _ in walk_entries(store_of(dag), made.cid)) == count + 1
            best = min(best, time.process_time() - start)
        return best

    assert seconds(20_000, "plain") < 30 * seconds(2_000, "plain")
    assert seconds(10_000, "hamt") < 30 * seconds(1_000, "hamt")


def test_an_entry_is_a_value() -> None:
    dag = Dag()
    root = dag.directory({"a": dag.raw(b"x")})
    (once,), (again,) = list_directory(store_of(dag), root.cid), list_directory(store_of(dag), root.cid)
    assert once == again == Entry("a", "a", CID(archives.cid_v1(b"x")), "file", 1)
    assert len({once, again}) == 1

"""The Go dagstore's records and index files: out of a store, into another, and whatever else may be in them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import carv2
from carv2.dagstore import (
    BytesMount,
    DagStore,
    FileMount,
    FolderPieces,
    GlobalBlockstore,
    ShardState,
    default_registry,
)
from carv2.dagstore.golayout import carv2_url, go_url, parse_record
from carv2.dagstore.indices import IndexFolder
from carv2.dagstore.mounts import PieceMount
from carv2.dagstore.mounts.piece import PieceMounts
from carv2.errors import CarError, ShardErroredError, StateError
from carv2.index import CAR_INDEX_SORTED, IndexBuilder
from dagstore.shards import PATIENCE, Place, archive_of, blocks_of, check_serves
from helpers import archives

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ODD_KEYS = [
    "plain",
    "../x",
    "Qm",
    "qm",
    "%2Fx",
    "/x",
    ".",
    "..",
    "a b",
    "ünï",
    "x" * 246,
    "x" * 1000,
    "-rf",
    ".version",
]
"""Some that are names of files for Go, and some that cannot be."""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path)


@pytest.fixture
def store(place: Place) -> Iterator[DagStore]:
    with place.store() as store:
        yield store


@pytest.fixture
def other(tmp_path: Path) -> Iterator[DagStore]:
    """Another store."""
    other = Place.at(tmp_path / "other")
    with other.store() as store:
        yield store


class GoFolder:
    """A folder as one would make of a Go dagstore's files."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        (folder / "index").mkdir(parents=True)
        (folder / "index" / ".version").write_text("1")
        self._lines: list[bytes] = []

    def line(self, line: bytes) -> None:
        self._lines.append(line)
        (self.path / "shards.jsonl").write_bytes(b"\n".join(self._lines))

    def record(self, key: str, url: str, state: int = 0, **fields: Any) -> None:
        record = {"k": key, "u": url, "t": "", "s": state, "l": True, "e": "", **fields}
        self.line(json.dumps(record).encode())

    def index(self, key: str, data: bytes) -> None:
        (self.path / "index" / f"{key}.full.idx").write_bytes(data)


@pytest.fixture
def go(tmp_path: Path) -> GoFolder:
    return GoFolder(tmp_path / "go")


def index_of(archive: bytes, codec: int = 0x0401) -> bytes:
    return carv2.build_index(archive, codec=codec).to_bytes()


def records(folder: Path) -> dict[str, dict[str, Any]]:
    lines = (folder / "shards.jsonl").read_text().splitlines()
    return {record["k"]: record for record in map(json.loads, lines)}


# -- round trip -----------------------------------------------------------------------------------------------


def test_what_was_exported_comes_in_as_it_was(
    place: Place, store: DagStore, other: DagStore, tmp_path: Path
) -> None:
    for seed in ("a", "b"):
        store.register(seed, place.mount(seed))
    store.register("lazy", place.mount("lazy"), lazy=True)
    gone = place.mount("errored")
    place.faults[gone.url].gone = True
    with pytest.raises(ShardErroredError):
        store.register("errored", gone)

    done = store.export_go(tmp_path / "out")
    assert (done.shard_count, done.index_count) == (4, 2)
    taken = other.import_go(tmp_path / "out")
    assert (taken.shard_count, taken.index_count, taken.known, taken.refused_count) == (4, 2, 0, 0)

    for before, after in zip(store.list(), other.list(), strict=True):
        assert (before.key, before.state, before.url, before.error) == (
            after.key,
            after.state,
            after.url,
            after.error,
        )
        assert (before.block_count, before.index_size) == (after.block_count, after.index_size)
    opened = other.counters()["initialized"]
    for seed in ("a", "b"):
        assert other.shards_with(next(iter(blocks_of(seed)))) == [seed]
        check_serves(other, seed, seed)
    assert other.counters()["initialized"] == opened  # the indexes are those that came in
    check_serves(other, "lazy", "lazy")
    other.recover("errored", timeout=PATIENCE)
    check_serves(other, "errored", "errored")


@pytest.mark.parametrize("key", ODD_KEYS)
def test_keys_that_are_no_names_of_files_come_through(
    store: DagStore, other: DagStore, tmp_path: Path, key: str
) -> None:
    store.register(key, BytesMount(archive_of("odd")))
    can_be_named = "/" not in key and len(key.encode()) <= 255 - len(".full.idx")
    assert store.export_go(tmp_path / "out").index_count == can_be_named
    names = {name for name in os.listdir(tmp_path / "out" / "index") if name != ".version"}
    assert names == ({f"{key}.full.idx"} if can_be_named else set())
    assert records(tmp_path / "out")[key]["s"] == (2 if can_be_named else 0)
    assert other.import_go(tmp_path / "out").index_count == can_be_named
    check_serves(other, key, "odd")
    assert sorted(os.listdir(tmp_path)) == ["archives", "other", "out", "store"]


def test_keys_that_differ_by_escapes_and_case_keep_their_own_indexes(
    store: DagStore, other: DagStore, tmp_path: Path
) -> None:
    for number, key in enumerate(ODD_KEYS):
        store.register(key, BytesMount(archive_of(f"seed {number}", count=1 + number)))
    store.export_go(tmp_path / "out")
    other.import_go(tmp_path / "out")
    for number, key in enumerate(ODD_KEYS):
        check_serves(other, key, f"seed {number}", count=1 + number)


def test_a_shard_without_its_index_is_a_new_one(place: Place, store: DagStore, tmp_path: Path) -> None:
    for seed in ("lost", "damaged"):
        store.register(seed, place.mount(seed))
    folder = IndexFolder(place.root / "index")
    folder.drop("lost")
    path = folder.path_of("damaged")
    with open(path, "r+b") as file:
        file.seek(30)
        file.write(b"damaged")
    assert store.export_go(tmp_path / "out").index_count == 0
    assert {record["s"] for record in records(tmp_path / "out").values()} == {0}
    assert os.listdir(tmp_path / "out" / "index") == [".version"]


def test_a_callers_file_is_named_on_request_only(
    place: Place, store: DagStore, other: DagStore, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.car"
    copy.write_bytes(archive_of("a"))
    store.register("a", "file:///nowhere/a.car", local_copy=copy)
    store.export_go(tmp_path / "without")
    store.export_go(tmp_path / "with", local_copies=True)
    assert records(tmp_path / "without")["a"]["t"] == ""
    assert records(tmp_path / "with")["a"]["t"] == str(copy)
    other.import_go(tmp_path / "with")
    check_serves(other, "a", "a")
    assert copy.exists()


def test_a_folder_that_holds_shards_is_not_exported_to(place: Place, store: DagStore, tmp_path: Path) -> None:
    store.register("a", place.mount("a"))
    (tmp_path / "empty").mkdir()
    store.export_go(tmp_path / "empty")
    with pytest.raises(FileExistsError):
        store.export_go(tmp_path / "empty")
    (tmp_path / "empty" / "shards.jsonl").unlink()
    with pytest.raises(FileExistsError):  # indexes that the Go dagstore would take for those of its shards
        store.export_go(tmp_path / "empty")
    with pytest.raises(FileExistsError):
        store.export_go(place.root)
    check_serves(store, "a", "a")


def test_an_empty_store_is_exported_too(store: DagStore, other: DagStore, tmp_path: Path) -> None:
    store.export_go(tmp_path / "out")
    assert other.import_go(tmp_path / "out").shard_count == 0


# -- records --------------------------------------------------------------------------------------------------


def test_a_record_is_what_the_go_dagstore_writes(place: Place, store: DagStore, tmp_path: Path) -> None:
    store.register("foo", place.mount("a b"))
    store.export_go(tmp_path / "out")
    path = str(place.folder / "archives" / "a b.car")
    url = "fs://a_b.car?path=" + path[1:].replace("/", "%2F").replace(" ", "%20")
    line = json.dumps({"k": "foo", "u": url, "t": "", "s": 2, "l": False, "e": ""}, separators=(",", ":"))
    assert (tmp_path / "out" / "shards.jsonl").read_text() == line + "\n"


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (0x00, ShardState.NEW),
        (0x01, ShardState.NEW),
        (0x02, ShardState.AVAILABLE),
        (0x03, ShardState.AVAILABLE),
        (0x80, ShardState.NEW),
        (0xF0, ShardState.ERRORED),
        (0xFF, ShardState.NEW),
        (0x77, ShardState.NEW),
    ],
)
def test_each_state_comes_in_as_what_is_left_of_it(
    place: Place, store: DagStore, go: GoFolder, state: int, expected: ShardState
) -> None:
    mount = place.mount("a")
    go.record("a", mount.url, state, e="the disk was on fire" if state == 0xF0 else "")
    go.index("a", index_of(archive_of("a")))
    done = store.import_go(go.path)
    assert (done.shard_count, done.index_count) == (1, expected is ShardState.AVAILABLE)
    info = store.info("a")
    assert (info.state, info.is_lazy) == (expected, True)
    assert info.error == ("the disk was on fire" if state == 0xF0 else "")
    if expected is ShardState.ERRORED:
        with pytest.raises(ShardErroredError, match="on fire"):
            store.acquire("a", timeout=PATIENCE)
        store.recover("a", timeout=PATIENCE)
    check_serves(store, "a", "a")


def test_an_errored_shard_without_a_reason_has_one(store: DagStore, go: GoFolder) -> None:
    go.record("a", "file:///nowhere", 0xF0)
    store.import_go(go.path)
    assert store.info("a").state is ShardState.ERRORED
    assert store.info("a").error


def test_known_shards_stay_as_they_are(place: Place, store: DagStore, go: GoFolder) -> None:
    for key in "abc":
        store.register(key, place.mount(key), lazy=key == "b")
    before = list(store.list())
    for key, state in zip("abc", (0, 2, 0xF0), strict=True):
        go.record(key, "file:///elsewhere", state)
        go.index(key, index_of(archive_of("x")))
    done = store.import_go(go.path)
    assert (done.shard_count, done.index_count, done.known) == (0, 0, 3)
    assert list(store.list()) == before


def test_it_can_be_done_again(place: Place, store: DagStore, go: GoFolder) -> None:
    for key, state in (("a", 2), ("b", 0), ("b", 0), ("c", 0), ("a", 2), ("c", 2)):
        go.record(key, place.mount(key).url, state)
    go.index("a", index_of(archive_of("a")))
    first = store.import_go(go.path)
    assert (first.shard_count, first.index_count, first.known) == (3, 1, 3)
    second = store.import_go(go.path)
    assert (second.shard_count, second.index_count, second.known) == (0, 0, 6)
    for key in "abc":
        check_serves(store, key, key)


def test_more_records_than_are_taken_at_once(store: DagStore, go: GoFolder) -> None:
    for number in range(2500):
        go._lines.append(b'{"k":"shard-%d","u":"file:///x/%d","s":0}' % (number, number))
    go.record("last", "file:///x/last")
    assert store.import_go(go.path).shard_count == 2501
    assert len(store) == 2501
    assert store.info("shard-2499").url == "file:///x/2499"


def test_what_came_in_is_not_missing_any_more(place: Place, store: DagStore, go: GoFolder) -> None:
    cid, data = next(iter(blocks_of("a").items()))
    go.record("a", place.mount("a").url, 2)
    go.index("a", index_of(archive_of("a")))
    with GlobalBlockstore(store, remember_missing=1000) as blocks:
        assert cid not in blocks
        store.import_go(go.path)
        assert blocks[cid] == data


class OddMount(FileMount):
    """A mount of an application's, whose URL nobody can store."""

    url = "odd://\ud800"


def test_a_url_that_cannot_be_stored_is_refused(tmp_path: Path, go: GoFolder) -> None:
    registry = default_registry()
    registry.register("odd", lambda _: OddMount("/x"))
    for number in range(3):
        go.record(f"shard-{number}", "odd://x" if number == 1 else "file:///x")
    with DagStore(tmp_path / "store", mounts=registry) as store:
        done = store.import_go(go.path)
    assert (done.shard_count, done.refused_count) == (2, 1)


def test_what_is_done_to_shards_is_told_as_the_table_has_it(place: Place, store: DagStore, go: GoFolder) -> None:
    go.record("a", place.mount("a").url, 2)
    go.record("b", place.mount("b").url, 2)
    go.record("c", place.mount("c").url, 0xF0)
    go.index("a", index_of(archive_of("a")))
    with store.subscribe() as events:
        store.import_go(go.path)
        told = [(event.key, event.operation.value) for event in iter(lambda: events.get(0), None)]
    assert told == [
        ("a", "register"), ("a", "initialize"), ("a", "make available"),
        ("b", "register"), ("b", "initialize"), ("b", "break off"),
        ("c", "register"), ("c", "initialize"), ("c", "fail"),
    ]  # fmt: skip


def test_an_import_of_nothing_makes_nothing(store: DagStore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.import_go(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError):
        store.import_go(tmp_path / "empty")
    assert os.listdir(tmp_path / "empty") == []


def test_an_index_folder_of_another_version_is_refused(store: DagStore, go: GoFolder) -> None:
    (go.path / "index" / ".version").write_text("2")
    go.record("a", "file:///x")
    with pytest.raises(StateError, match="version 2"):
        store.import_go(go.path)
    assert len(store) == 0


# -- hostile records ------------------------------------------------------------------------------------------

HOSTILE = [
    b"",
    b"no JSON",
    b"[]",
    b"null",
    b"[" * 100_000,
    b'{"k":"a"}',
    b'{"k":"a","u":"file:///x"}',
    b'{"k":"a","u":"file:///x","s":"2"}',
    b'{"k":"a","u":"file:///x","s":true}',
    b'{"k":"a","u":"file:///x","s":-1}',
    b'{"k":"a","u":"file:///x","s":256}',
    b'{"k":"a","u":"file:///x","s":1e400}',
    b'{"k":"a","u":"file:///x","s":' + b"1" * 100_000 + b"}",
    b'{"k":"","u":"file:///x","s":0}',
    b'{"k":null,"u":"file:///x","s":0}',
    b'{"k":3,"u":"file:///x","s":0}',
    b'{"k":["a"],"u":"file:///x","s":0}',
    b'{"k":"a\\u0000","u":"file:///x","s":0}',
    b'{"k":"a\\n","u":"file:///x","s":0}',
    b'{"k":"\\ud800","u":"file:///x","s":0}',
    b'{"k":"' + b"a" * 1025 + b'","u":"file:///x","s":0}',
    b'{"k":"a","u":"","s":0}',
    b'{"k":"a","u":7,"s":0}',
    b'{"k":"a","u":"x","s":0}',
    b'{"k":"a","u":"file://[","s":0}',
    b'{"k":"a","u":"file:///\\ud800","s":0}',
    b'{"k":"a","u":"file://x.car","s":0}',
    b'{"k":"a","u":"fs://x.car","s":0}',
    b'{"k":"a","u":"fs://irrecoverable","s":0}',
    b'{"k":"a","u":"fs://x.car?path=a%00b","s":0}',
    b'{"k":"a","u":"lotus://baga6ea","s":0}',
    b'{"k":"a","u":"http://example.com/x.car","s":0}',
    b'{"k":"a","u":"bytes://!!!","s":0}',
    b'{"k":"a","u":"file:///x","s":0,"t":["x"]}',
    b'{"k":"a","u":"file:///x","s":0,"e":{}}',
    b'{"k":"\xff","u":"file:///x","s":0}',
    b'{"k":"a","u":"file:///x","s":0,"x":"' + b"a" * (1 << 20) + b'"}',
]


@pytest.mark.parametrize("line", HOSTILE[1:], ids=range(1, len(HOSTILE)))
def test_a_record_that_cannot_be_is_refused_and_the_others_taken(
    store: DagStore, go: GoFolder, line: bytes
) -> None:
    go.record("before", "file:///before")
    go.line(line)
    go.record("after", "file:///after")
    done = store.import_go(go.path)
    assert (done.shard_count, done.refused_count) == (2, 1)
    assert done.refused[0].startswith("line 2: ")
    assert len(done.refused[0]) < 1000
    assert [info.key for info in store.list()] == ["after", "before"]


def test_lines_of_any_length_are_told_apart(store: DagStore, go: GoFolder) -> None:
    for number, size in enumerate((10, 3 << 20, 0, 1 << 20, 10, (1 << 20) - 100, 5 << 20)):
        go.record(f"shard-{number}", "file:///x", x="a" * size)
    go.line(b"")
    go.line(b"  \r")
    done = store.import_go(go.path)
    assert [text.split(":")[0] for text in done.refused] == ["line 2", "line 4", "line 7"]
    assert [info.key for info in store.list()] == ["shard-0", "shard-2", "shard-4", "shard-5"]


def test_of_many_refused_records_a_hundred_are_named(store: DagStore, go: GoFolder) -> None:
    for _ in range(1000):
        go._lines.append(b"x")
    go.record("a", "file:///x")
    done = store.import_go(go.path)
    assert (done.shard_count, done.refused_count, len(done.refused)) == (1, 1000, 100)


def test_a_file_that_is_named_as_a_copy_must_be_one(
    place: Place, store: DagStore, go: GoFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.folder / "relative.car").write_bytes(archive_of("a"))
    monkeypatch.chdir(place.folder)
    for number, copy in enumerate(("relative.car", str(place.folder), "/nowhere", "\x00", "\ud800", "")):
        go.record(f"shard-{number}", place.mount("a").url, 0, t=copy)
    store.import_go(go.path)
    assert {info.local_copy for info in store.list()} == {""}


def test_a_pipe_for_records_is_not_waited_for(store: DagStore, go: GoFolder) -> None:
    os.mkfifo(go.path / "shards.jsonl")
    with pytest.raises(OSError, match="regular"):
        store.import_go(go.path)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("kutsle") | st.text(), inner),
    )
)
def test_whatever_a_line_holds_it_is_a_record_or_a_value_error(found: object) -> None:
    try:
        record = parse_record(json.dumps(found).encode())
    except ValueError:
        return
    assert record.key
    assert 0 <= record.state < 256


# -- hostile indexes ------------------------------------------------------------------------------------------


def hostile_indexes() -> Iterator[tuple[str, bytes]]:
    sound = index_of(archive_of("a"))
    yield "0x0400", index_of(archive_of("a"), CAR_INDEX_SORTED)
    yield "nothing", b""
    yield "no codec", b"\xff" * 20
    yield "truncated", sound[:-1]
    yield "half", sound[: len(sound) // 2]
    first, second = sorted(cid.digest for cid in blocks_of("a"))[:2]
    swapped = sound.replace(first, b"x" * 32).replace(second, first).replace(b"x" * 32, second)
    yield "not sorted", swapped
    yield "headless", index_of(archive_of("a"), CAR_INDEX_SORTED)[2:]
    yield "a hash function that cannot be", sound.replace((0x12).to_bytes(8, "little"), b"\xff" * 8)
    yield "an archive", archive_of("a")
    size = 5 * 40
    yield "half a record", sound.replace(size.to_bytes(8, "little"), (size + 1).to_bytes(8, "little")) + b"x"


HOSTILE_INDEXES = dict(hostile_indexes())


@pytest.mark.parametrize("name", HOSTILE_INDEXES)
def test_an_index_that_will_not_do_is_made_anew(place: Place, store: DagStore, go: GoFolder, name: str) -> None:
    for key, state in (("a", 2), ("b", 3)):
        go.record(key, place.mount(key).url, state)
    go.index("a", HOSTILE_INDEXES[name])
    go.index("b", index_of(archive_of("b")))
    done = store.import_go(go.path)
    assert (done.shard_count, done.index_count, done.refused_count) == (2, 1, 0)
    assert store.info("a").state is ShardState.NEW
    assert store.shards_with(next(iter(blocks_of("a")))) == []
    assert store._core.catalogue.multihash_count() == 5
    check_serves(store, "a", "a")
    check_serves(store, "b", "b")


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling link", "missing"])
def test_what_is_no_file_is_no_index(place: Place, store: DagStore, go: GoFolder, kind: str) -> None:
    path = go.path / "index" / "a.full.idx"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    go.record("a", place.mount("a").url, 2)
    assert store.import_go(go.path).index_count == 0
    check_serves(store, "a", "a")


def test_a_key_cannot_lead_out_of_the_index_folder(place: Place, store: DagStore, go: GoFolder) -> None:
    (go.path / "outside.full.idx").write_bytes(index_of(archive_of("a")))
    go.record("../outside", place.mount("a").url, 2)
    assert store.import_go(go.path).index_count == 0
    check_serves(store, "../outside", "a")


def test_an_index_that_leads_astray_gives_no_wrong_block(place: Place, store: DagStore, go: GoFolder) -> None:
    builder = IndexBuilder()
    for number, cid in enumerate(blocks_of("a")):
        builder.add(cid, (1 << 62) + number if number else 3)
    go.record("a", place.mount("a").url, 2)
    go.index("a", builder.to_index().to_bytes())
    assert store.import_go(go.path).index_count == 1
    with store.acquire("a", timeout=PATIENCE) as shard:
        for cid in blocks_of("a"):
            with pytest.raises(CarError):
                _ = shard[cid]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_changed_in_an_index_the_import_goes_on(tmp_path: Path, data: st.DataObject) -> None:
    sound = bytearray(
        archives.index_multihash_sorted([archives.Record(0x12, bytes([n] * 32), n) for n in range(9)])
    )
    for _ in range(data.draw(st.integers(1, 4))):
        sound[data.draw(st.integers(0, len(sound) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path / os.urandom(8).hex()
    go = GoFolder(folder / "go")
    go.record("a", BytesMount(archive_of("a")).url, 2)
    go.index("a", bytes(sound[: data.draw(st.integers(0, len(sound)))]))
    with Place.at(folder).store() as store:
        done = store.import_go(go.path)
        assert (done.shard_count, done.refused_count) == (1, 0)
        assert store.info("a").state is (ShardState.AVAILABLE if done.index_count else ShardState.NEW)
        if not done.index_count:
            assert store._core.catalogue.multihash_count() == 0
            check_serves(store, "a", "a")


# -- URLs -----------------------------------------------------------------------------------------------------

PIECE = "baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (f"lotus://{PIECE}", f"piece://{PIECE}"),
        ("fs://x.car?path=data%2Fx.car", "file:///data/x.car"),
        ("fs://x.car?path=data/x.car", "file:///data/x.car"),
        ("fs://x.car?path=%2Fdata%2Fx.car", "file:///data/x.car"),
        ("fs://x?path=a+b%25%3F%23", "file:///a%20b%25%3F%23"),
        ("fs://x?path=%FFname", "file:///%FFname"),
        ("file://%2Fdata%2Fx.car", "file:///data/x.car"),
        ("bytes://ZmlzaA==", "bytes:///ZmlzaA"),
        ("bytes://+/8=", "bytes:///-_8"),
        ("bytes://%2B%2F8=", "bytes:///-_8"),
        ("file:///data/x.car", "file:///data/x.car"),
    ],
)
def test_urls_of_the_go_dagstore_are_understood(tmp_path: Path, theirs: str, ours: str) -> None:
    registry = default_registry()
    registry.register("piece", PieceMounts(FolderPieces(str(tmp_path))))
    assert registry.instantiate(carv2_url(theirs)).url == ours


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (f"piece://{PIECE}", f"lotus://{PIECE}"),
        ("file:///data/a%20b%25.car", "fs://a_b_.car?path=data%2Fa%20b%25.car"),
        ("file:///%FFname", "fs://_name?path=%FFname"),
        ("file:///irrecoverable", "fs://_?path=irrecoverable"),
        ("bytes:///ZmlzaA", "bytes:///ZmlzaA"),
        ("https://example.com/x.car", "https://example.com/x.car"),
    ],
)
def test_urls_of_ours_are_there_what_they_are_here(ours: str, theirs: str) -> None:
    assert go_url(ours) == theirs
    assert carv2_url(theirs) == ours


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name))
def test_any_path_comes_back(name: bytes) -> None:
    mount = FileMount(b"/data/" + name)
    if not os.path.basename(os.fsencode(mount.path)) or name.startswith(b"/"):
        return
    assert FileMount.of_url(carv2_url(go_url(mount.url))) == mount


def test_another_mapping_can_be_given(place: Place, store: DagStore, go: GoFolder, tmp_path: Path) -> None:
    mount = place.mount("a")
    go.record("a", "blobs://seven", 0)
    assert store.import_go(go.path).refused_count == 1
    store.import_go(go.path, url_of={"blobs://seven": mount.url}.__getitem__)
    check_serves(store, "a", "a")
    store.export_go(tmp_path / "out", url_of=lambda url: f"ours+{url}")
    assert records(tmp_path / "out")["a"]["u"] == f"ours+{mount.url}"


def test_pieces_come_in_from_lotus(tmp_path: Path, go: GoFolder) -> None:
    pieces = tmp_path / "pieces"
    pieces.mkdir()
    (pieces / f"{PIECE}.car").write_bytes(archive_of("piece").ljust(1 << 12, b"\0"))
    resolver = FolderPieces(str(pieces))
    registry = default_registry()
    registry.register("piece", PieceMounts(resolver))
    go.record(PIECE, f"lotus://{PIECE}", 2)
    go.index(PIECE, index_of(archive_of("piece")))
    with DagStore(tmp_path / "store", mounts=registry) as store:
        assert store.import_go(go.path).index_count == 1
        check_serves(store, PIECE, "piece")
        assert store.info(PIECE).url == PieceMount(PIECE, resolver).url
        store.export_go(tmp_path / "out")
    assert records(tmp_path / "out")[PIECE]["u"] == f"lotus://{PIECE}"

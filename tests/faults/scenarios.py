"""What is done to files, so that it can be interrupted; and what must be so however far it came."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import carv2
from carv2 import reindex, replace_roots, unixfs, wrap
from carv2._atomic import replacing
from carv2.blockstore import ReadWriteBlockstore
from carv2.dagstore import DagStore, DagStoreConfig, Deal, FileMount, ShardState
from carv2.dagstore.mounts import MountRegistry
from carv2.errors import CarError, RetrievalNotFoundError
from carv2.imports import ImportsManager, Retrievals
from dagstore.shards import archive_of, check_serves
from faults.disk import assert_valid
from helpers import archives

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BLOCKS = [archives.FISH, archives.PB_NODE, archives.LOBSTER, archives.BARRELEYE]
LARGE = (archives.cid_v1(b"large " * 3000), b"large " * 3000)
ROOTS = [archives.FISH[0]]


class Scenario(NamedTuple):
    """One thing that is done."""

    prepare: Callable[[Path], None]
    """Make what is there before, which is durable."""
    act: Callable[[Path, Callable[[str], None]], None]
    """Do it, and say each word of what is safe then."""
    check: Callable[[Path, frozenset[str]], None]
    """However far it came: nothing said is lost, nothing is wrong, and it can be done again, or gone on with."""
    is_durable: bool = True
    """Whether what is said outlives a power cut."""


def nothing(_: object) -> None:
    """There is nothing to prepare, or nobody to tell."""


# -- single files -------------------------------------------------------------------------------------------------

OLD, NEW = b"old " * 500, b"new " * 4000


def prepare_file(folder: Path) -> None:
    (folder / "x").write_bytes(OLD)


def replace_file(folder: Path, say: Callable[[str], None]) -> None:
    with replacing(folder / "x") as file:
        for at in range(0, len(NEW), 9000):
            file.write(NEW[at : at + 9000])
    say("new")


def check_replaced(folder: Path, said: frozenset[str]) -> None:
    found = (folder / "x").read_bytes()
    assert found == NEW or (found == OLD and not said)
    replace_file(folder, nothing)
    assert (folder / "x").read_bytes() == NEW


def prepare_archives(folder: Path) -> None:
    (folder / "x.car").write_bytes(archives.v1(ROOTS, [*BLOCKS, LARGE]))
    (folder / "y.car").write_bytes(archives.v2(archives.v1(ROOTS, [*BLOCKS, LARGE])))


def rewrite(folder: Path, say: Callable[[str], None]) -> None:
    wrap(folder / "x.car", folder / "new.car")
    say("wrapped")
    reindex(folder / "y.car", folder / "y.car")
    say("indexed")
    replace_roots(folder / "y.car", [archives.LOBSTER[0]])
    say("rooted")


def check_rewritten(folder: Path, said: frozenset[str]) -> None:
    assert "wrapped" not in said or (folder / "new.car").exists()
    for path in folder.glob("*.car"):
        assert_valid(path)
    with carv2.open(folder / "y.car") as car:
        assert "indexed" not in said or car.index is not None
        assert [bytes(root) for root in car.roots] == [archives.LOBSTER[0]] or "rooted" not in said
        assert sum(1 for _ in car) == len(BLOCKS) + 1
    rewrite(folder, nothing)
    assert_valid(folder / "new.car")


# -- trees --------------------------------------------------------------------------------------------------------

TREE = {"a": b"a" * 5000, "deep/er/b": b"b" * 300_000, "deep/c": b""}


def users(folder: Path) -> Path:
    """Where the user's files are, which nobody touches."""
    return folder.parent / "user"


def prepare_tree(folder: Path) -> None:
    for name, data in TREE.items():
        path = users(folder) / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def pack(folder: Path, say: Callable[[str], None]) -> None:
    unixfs.pack(users(folder) / "tree", folder / "tree.car", wrap=False, workers=1)
    say("packed")


def check_packed(folder: Path, said: frozenset[str]) -> None:
    assert not said or (folder / "tree.car").exists()
    if (folder / "tree.car").exists():
        assert_valid(folder / "tree.car")
    pack(folder, nothing)
    assert_valid(folder / "tree.car")


def prepare_packed(folder: Path) -> None:
    prepare_tree(folder)
    pack(folder, nothing)


def extract(folder: Path, say: Callable[[str], None]) -> None:
    unixfs.extract(folder / "tree.car", folder / "out", existing="replace", on_missing="raise")
    say("extracted")


def check_extracted(folder: Path, said: frozenset[str]) -> None:
    found = {
        os.path.relpath(path, folder / "out"): path.read_bytes()
        for path in (folder / "out").rglob("*")
        if path.is_file() and not path.name.startswith(".carv2-")  # where it could not even be removed
    }
    assert found.items() <= TREE.items(), "a file that is not whole, or none of the tree's"
    assert not said or found == TREE
    extract(folder, nothing)


# -- read-write stores --------------------------------------------------------------------------------------------


def fill(folder: Path, say: Callable[[str], None], **options: Any) -> None:
    path = folder / "x.car"
    opened = ReadWriteBlockstore.resume if path.exists() else ReadWriteBlockstore.create
    store = opened(path, ROOTS, **options)
    try:
        store.put_many(BLOCKS[:2])
        store.flush()
        say("2")
        store.put_many([*BLOCKS[2:], LARGE])
        assert store[BLOCKS[2][0]] == BLOCKS[2][1]
        store.finalize()
        say("all")
    except BaseException:
        store.discard()
        raise
    store.close()


def check_filled(folder: Path, said: frozenset[str], **options: Any) -> None:
    path = folder / "x.car"
    safe = dict([*BLOCKS, LARGE] if "all" in said else BLOCKS[:2] if said else [])
    if path.exists():
        try:
            with ReadWriteBlockstore.resume(path, ROOTS, **options) as store:
                found = {bytes(cid): store[cid] for cid in store}
        except CarError:
            assert not said, "it cannot be opened any more"
            path.unlink()
        else:
            assert safe.items() <= found.items(), "acknowledged blocks are lost"
            assert found.items() <= dict([*BLOCKS, LARGE]).items()
    else:
        assert not said, "the file is lost"
    fill(folder, nothing, **options)
    assert_valid(path)


def prepare_unfinished(folder: Path) -> None:
    store = ReadWriteBlockstore.create(folder / "x.car", ROOTS)
    store.put(*BLOCKS[0])
    store.flush()
    store.discard()
    with (folder / "x.car").open("ab") as file:
        file.write(b"\x60torn")


# -- imports and retrievals ---------------------------------------------------------------------------------------


def prepare_imports(folder: Path) -> None:
    prepare_tree(folder)
    with ImportsManager(folder / "imports") as imports:
        imports.import_file(users(folder) / "tree" / "a")


def import_files(folder: Path, say: Callable[[str], None]) -> None:
    with ImportsManager(folder / "imports", check=None) as imports:
        added = imports.import_file(users(folder) / "tree" / "deep", workers=1)
        say(str(added.id))
        gone = imports.import_file(users(folder) / "tree" / "a")
        imports.remove(gone.id)


def check_imported(folder: Path, said: frozenset[str]) -> None:
    with ImportsManager(folder / "imports", check="originals") as imports:
        kept = set(imports.ids())
        assert imports.sanity is not None
        broken = {problem.id for problem in imports.sanity.problems}
        assert set(map(int, said)) <= kept - broken, "an import is lost"
        for id_ in kept - broken:
            with imports.open(id_) as store:
                assert sum(len(store[cid]) for cid in store) > 0
        if broken:
            imports.remove(*broken)
        for name in imports.strays():
            imports.remove(int(name.split(".")[0]))
        assert imports.check(originals=True).ok
    import_files(folder, nothing)


def retrieve(folder: Path, say: Callable[[str], None]) -> None:
    with Retrievals(folder / "retrievals").start(carv2.CID.of(ROOTS[0]), id="x") as it:
        it.put_many(BLOCKS[:2])
        it.flush()
        say("2")
        it.put_many(BLOCKS[2:])
        it.finish(partial=True)
        say("all")


def check_retrieved(folder: Path, said: frozenset[str]) -> None:
    retrievals = Retrievals(folder / "retrievals")
    safe = dict(BLOCKS if "all" in said else BLOCKS[:2] if said else [])
    try:
        with retrievals.start(None, id="x") as it:
            assert all(it[cid] == data for cid, data in safe.items())
    except RetrievalNotFoundError:
        assert not said, "the retrieval is lost"
    except CarError:
        assert not said, "the retrieval is damaged"
        retrievals.remove("x")
    retrieve(folder, nothing)


# -- DAG stores ---------------------------------------------------------------------------------------------------


class Sequential(FileMount):
    """A file that is copied before it is read."""

    random_access = False


def opened(folder: Path) -> DagStore:
    registry = MountRegistry()
    registry.register("file", lambda url: Sequential(FileMount.of_url(url).path))
    config = DagStoreConfig(gc_interval=0.0, recover_on_start="no", max_jobs=1, lease_seconds=1.5)
    return DagStore(folder / "store", mounts=registry, config=config)


def mount(folder: Path, key: str) -> str:
    return FileMount(str(users(folder) / f"{key}.car")).url


def prepare_shards(folder: Path) -> None:
    for key in ("one", "two", "three"):
        (users(folder) / f"{key}.car").write_bytes(archive_of(key))
    with opened(folder) as store:
        store.register("one", mount(folder, "one"))


def use_store(folder: Path, say: Callable[[str], None]) -> None:
    with opened(folder) as store:
        if "two" not in store:
            store.register("two", mount(folder, "two"))
        say("two")
        store.migrate([Deal("three", "StorageDealActive")], mount_of=lambda key: mount(folder, key), again=True)
        with store.acquire("two", timeout=60) as shard:
            assert len(shard) == 5
        if "one" in store:
            store.destroy("one")
        say("no one")


def check_store(folder: Path, said: frozenset[str]) -> None:
    with opened(folder) as store:
        assert "two" in store or "two" not in said, "a shard is lost"
        assert "one" not in store or "no one" not in said, "a shard that was destroyed is there again"
        for info in list(store.list()):
            if info.state is ShardState.ERRORED:
                store.recover(info.key, timeout=60)
            if info.key in {"one", "two"}:
                check_serves(store, info.key, info.key)
        list(store.doctor(repair=True, thorough=True))
        assert list(store.doctor(thorough=True)) == []
    use_store(folder, nothing)


def export(folder: Path, say: Callable[[str], None]) -> None:
    with opened(folder) as store:
        store.export_go(folder / "go")
    say("exported")


def check_exported(folder: Path, said: frozenset[str]) -> None:
    records = folder / "go" / "shards.jsonl"
    assert records.exists() or not said
    if records.exists():
        assert records.read_text().count("\n") == 1
        assert [path.name for path in (folder / "go" / "index").glob("*.idx")] == ["one.full.idx"]
        with DagStore(folder / "another", config=DagStoreConfig(gc_interval=0.0)) as store:
            store.import_go(folder / "go")
            assert [info.key for info in store.list()] == ["one"]


ALL = {
    "a replaced file": Scenario(prepare_file, replace_file, check_replaced),
    "rewritten archives": Scenario(prepare_archives, rewrite, check_rewritten),
    "pack": Scenario(prepare_tree, pack, check_packed),
    "extract": Scenario(prepare_packed, extract, check_extracted, is_durable=False),
    "a read-write store": Scenario(nothing, fill, check_filled),
    "a CARv1 store": Scenario(nothing, partial(fill, version=1), partial(check_filled, version=1)),
    "a resumed store": Scenario(prepare_unfinished, fill, check_filled),
    "imports": Scenario(prepare_imports, import_files, check_imported),
    "a retrieval": Scenario(nothing, retrieve, check_retrieved),
    "a DAG store": Scenario(prepare_shards, use_store, check_store),
    "a Go dagstore's files": Scenario(prepare_shards, export, check_exported),
}

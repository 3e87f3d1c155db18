"""Dense archives turned into references, where the original still has what they hold."""

from __future__ import annotations

import dataclasses
import io
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2 import CID
from carv2.codec import dag_pb
from carv2.errors import IntegrityError
from carv2.filestore import FileStore, densify, import_by_reference, is_ref_car, refer
from carv2.unixfs import PROFILES, data, read
from filestore.writing import SMALL, TREE, packed, references_in, sections
from unixfs_import.inputs import write_tree

if TYPE_CHECKING:
    from pathlib import Path

HAMT = dataclasses.replace(SMALL, name="hamt", hamt_rule="entries", hamt_threshold=2, hamt_fanout=8)
PROFILES_BY_NAME = {
    **PROFILES,
    "small": SMALL,
    "hamt": HAMT,
    "again": dataclasses.replace(SMALL, duplicates="again"),
    "collapse": dataclasses.replace(SMALL, last_link="collapse", single_chunk="node", inline_limit=20),
}


def references_to(path: Path, **options: Any) -> bytes:
    sink = io.BytesIO()
    import_by_reference(path, sink, **options)
    return sink.getvalue()


def referred(archive: bytes, original: Path, **options: Any) -> tuple[bytes, Any]:
    sink = io.BytesIO()
    report = refer(archive, original, sink, **options)
    return sink.getvalue(), report


@pytest.mark.parametrize("variant", ["A", "D"])
@pytest.mark.parametrize("name", PROFILES_BY_NAME)
def test_a_dense_import_becomes_what_the_import_by_reference_is(tmp_path: Path, name: str, variant: str) -> None:
    write_tree(tmp_path / "top", TREE)
    profile = PROFILES_BY_NAME[name]
    archive = references_to(tmp_path / "top", profile=profile, variant=variant)
    sink = io.BytesIO()
    densify(archive, sink, allow=[tmp_path])
    data, report = referred(sink.getvalue(), tmp_path / "top", variant=variant)
    assert data == archive
    assert (report.kept_count, report.archive_size) == (0, len(archive))
    assert report.block_count == len(sections(archive))
    assert report.reference_count == len(references_in(archive, sink.getvalue(), variant))


@pytest.mark.parametrize("size", [0, 10, 126, 127, (1 << 20) + 1, (1 << 20) + 60, (2 << 20), (3 << 20) + 5])
def test_sizes_at_which_roots_go_into_their_cids(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))[:size])
    data, _ = referred(packed(path, profile="lotus", wrap=False), path)
    assert data == references_to(path)


def test_of_an_archive_with_a_folder_around_the_original_is_that_folder(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"a": {"f": bytes(range(200))}, "b": b"1"})
    data, report = referred(packed(tmp_path / "t", profile=SMALL), tmp_path)
    assert data == references_to(tmp_path / "t", profile=SMALL, wrap=True)
    assert report.kept_count == 0


def test_what_the_original_has_no_more_stays_in_full(tmp_path: Path) -> None:
    tree: dict[str, object] = {
        "changed": bytes(range(250)),
        "cut": bytes(range(1, 251)),
        "gone": b"gone",
        "same": b"1",
    }
    write_tree(tmp_path / "t", {**tree, "now a folder": b"2" * 50, "replaced": b"3" * 60})
    archive = packed(tmp_path / "t", profile=SMALL, wrap=False)
    (tmp_path / "t" / "changed").write_bytes(bytes(range(100)) + b"x" * 100 + bytes(range(200, 250)))
    os.truncate(tmp_path / "t" / "cut", 249)
    (tmp_path / "t" / "gone").unlink()
    (tmp_path / "t" / "now a folder").unlink()
    (tmp_path / "t" / "now a folder").mkdir()
    (tmp_path / "t" / "replaced").unlink()
    os.mkfifo(tmp_path / "t" / "replaced")
    data, report = referred(archive, tmp_path / "t")
    found = references_in(data, archive)
    assert [(at.path.rsplit("/", 1)[1], at.offset) for _, at in found] == [
        ("changed", 0), ("changed", 200), ("cut", 0), ("cut", 100), ("same", 0),
    ]  # fmt: skip
    assert (report.reference_count, report.size, report.kept_count, report.kept_size) == (
        5, 100 + 50 + 200 + 1, 5, 100 + 50 + 4 + 50 + 60,
    )  # fmt: skip
    with FileStore(data, allow=[tmp_path]) as store:
        assert {cid for cid, _ in sections(archive)} == set(store)
        assert all(store[cid] == block for cid, block in sections(archive))


def test_the_original_is_a_folder_that_nobody_gets_out_of(tmp_path: Path) -> None:
    write_tree(tmp_path, {"secret": b"secret", "t": {"link": "../secret", "f": b"fish", "g": b"goat"}})
    leaf, fish, goat = CID.of_data(b"secret"), CID.of_data(b"fish"), CID.of_data(b"goat")
    names = ["../secret", "..", "", "link", "/".join([str(tmp_path), "secret"]), "f", "../t/g"]
    links = [dag_pb.PBLink({"f": fish, "../t/g": goat}.get(name, leaf).raw, name, 6) for name in names]
    message = data.encode(data.UnixFSData(data.DIRECTORY))
    node = _node(links, message)
    root = CID.of_data(node, codec="dag-pb")
    blocks = [(leaf, b"secret"), (fish, b"fish"), (goat, b"goat"), (root, node)]
    archive = b"".join(carv2.iter_car([root], blocks))
    found, report = referred(archive, tmp_path / "t")
    assert (report.reference_count, report.kept_count) == (1, 2)
    assert [at.path.rsplit("/", 1)[1] for _, at in references_in(found, archive)] == ["f"]


def _node(links: list[dag_pb.PBLink], message: bytes) -> bytes:
    return dag_pb.encode(dag_pb.PBNode(links, message))


def test_a_tree_that_repeats_itself_takes_no_longer_for_it(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"1" * 1000)
    cid, size = CID.of_data(b"1"), 1
    blocks = [(cid, b"1")]
    for _ in range(60):  # 2**60 leaves
        size *= 2
        message = data.encode(data.UnixFSData(data.FILE, filesize=size, blocksizes=(size // 2,) * 2))
        node = _node([dag_pb.PBLink(cid.raw, "", 1)] * 2, message)
        cid = CID.of_data(node, codec="dag-pb")
        blocks.append((cid, node))
    started = time.monotonic()
    archive = b"".join(carv2.iter_car([cid], blocks))
    _, report = referred(archive, tmp_path / "f")
    assert report.reference_count == 1
    assert time.monotonic() - started < 60  # and not for ever


def test_odd_dags_lose_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"fish")
    leaf = CID.of_data(b"fish")
    odd = _node([dag_pb.PBLink(leaf.raw, "", 4)], b"\x08\x63")  # no such type
    sizeless = _node([dag_pb.PBLink(leaf.raw, "", 4)], data.encode(data.UnixFSData(data.FILE)))
    missing = _node([dag_pb.PBLink(CID.of_data(b"?", codec="dag-pb").raw, "f", 4)], b"\x08\x01")
    cbor = CID.of_data(b"\xa0", codec="dag-cbor")
    for root, blocks in (
        *((CID.of_data(node, codec="dag-pb"), [node]) for node in (odd, sizeless, missing)),
        (cbor, []),
        (leaf, []),
    ):
        pairs = [(leaf, b"fish"), *((root, node) for node in blocks)]
        archive = b"".join(carv2.iter_car([root], pairs))
        out, report = referred(archive, tmp_path / "f")
        assert report.reference_count == (root == leaf)
        assert is_ref_car(out) == (root == leaf)
        if root != leaf:
            assert sections(out) == sections(archive)


def test_nothing_is_written_over_and_nothing_damaged_goes_in(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"a": bytes(200), "b": bytes(range(200))})
    archive = packed(tmp_path / "t", profile=SMALL, wrap=False)
    with pytest.raises(ValueError, match="one of the originals"):
        refer(archive, tmp_path / "t", tmp_path / "t" / "b")
    assert (tmp_path / "t" / "b").read_bytes() == bytes(range(200))
    with pytest.raises(FileNotFoundError):
        refer(archive, tmp_path / "nothing", tmp_path / "o.car")
    with pytest.raises(ValueError, match="not below"):
        refer(archive, tmp_path / "t", tmp_path / "o.car", root=tmp_path / "t" / "a")
    with pytest.raises(ValueError, match="variant"):
        refer(archive, tmp_path / "t", tmp_path / "o.car", variant="E")
    with pytest.raises(IntegrityError):
        refer(archive.replace(bytes(range(100)), bytes(range(99)) + b"x"), tmp_path / "t", tmp_path / "o.car")
    assert not (tmp_path / "o.car").exists()


def test_no_file_in_the_original_is_written_over(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"a": bytes(range(250)), "b": bytes(300), "d": {".c": b"not in the archive"}})
    (tmp_path / "dense.car").write_bytes(packed(tmp_path / "t", profile=SMALL, wrap=False, hidden=False))
    (tmp_path / "t" / "b").write_bytes(b"other bytes, which stay in full")
    (tmp_path / "link").symlink_to(tmp_path / "t" / "b")
    for out in ("t/a", "t/b", "t/d/.c", "link"):
        before = (tmp_path / out).read_bytes()
        with pytest.raises(ValueError, match="one of the originals"):
            refer(tmp_path / "dense.car", tmp_path / "t", tmp_path / out)
        with (tmp_path / out).open("r+b") as file, pytest.raises(ValueError, match="one of the originals"):
            refer(tmp_path / "dense.car", tmp_path / "t", file)
        assert (tmp_path / out).read_bytes() == before
    inside = tmp_path / "t" / "dense.car"
    (tmp_path / "dense.car").rename(inside)
    assert refer(inside, tmp_path / "t", inside).kept_count == 1


def test_an_archive_becomes_references_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(range(250)) * 40)
    before = (tmp_path / "f").stat()
    (tmp_path / "o.car").write_bytes(packed(tmp_path / "f", profile=SMALL, wrap=False, version=1))
    seen: list[int] = []
    report = refer(tmp_path / "o.car", tmp_path / "f", tmp_path / "o.car", on_progress=seen.append)
    assert report.archive_size == (tmp_path / "o.car").stat().st_size
    assert sum(seen) > report.size
    with FileStore(tmp_path / "o.car", allow=[tmp_path / "f"]) as store:
        assert b"".join(read(store, store.roots[0])) == (tmp_path / "f").read_bytes()
    after = (tmp_path / "f").stat()
    assert (before.st_mtime_ns, before.st_ctime_ns) == (after.st_mtime_ns, after.st_ctime_ns)

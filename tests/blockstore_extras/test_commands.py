"""What the transcripts of ``put-block`` and ``recover`` cannot show: faults, locks, links."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

import carv2
from blockstore_extras.stores import FISH, LOBSTER, indexed
from carv2 import CID
from carv2._storefile import StoreFile
from carv2.blockstore import ReadWriteBlockstore, append, examine_file
from cli.running import run
from helpers import archives

if TYPE_CHECKING:
    from pathlib import Path

    from cli.running import Ran

WHALE = (CID.of_data(b"whale"), b"whale")


def put(folder: Path, *argv: str, data: bytes = b"whale") -> Ran:
    stdin = folder / ".block"
    stdin.write_bytes(data)
    try:
        return run(folder, ["put-block", *argv], stdin=stdin)
    finally:
        stdin.unlink()


def test_padding_index_and_identity_stay_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(archives.SMALL_V2)
    before = carv2.inspect(path)
    assert put(tmp_path, "x.car").code == 0
    after = carv2.inspect(path)
    assert before.header is not None
    assert after.header is not None
    assert after.block_count == before.block_count + 1
    assert after.header.data_offset == before.header.data_offset == 58
    assert after.header.index_offset - after.header.data_end == 5
    assert after.header.characteristics == before.header.characteristics == 1 << 127
    with carv2.open(path) as car:
        assert car.index is not None
        assert len(car.index) == len(archives.SMALL_RECORDS) + 1
        assert car.roots == carv2.open(archives.SMALL_V2).roots
    assert carv2.verify(path).ok


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("call", ["os.replace", "copy_beside", "finalize"])
def test_a_fault_leaves_the_archive_as_it_was_and_nothing_beside_it(
    tmp_path: Path, call: str, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    content = indexed([FISH]) if version == 2 else archives.v1([], [archives.FISH])
    path = tmp_path / "x.car"
    path.write_bytes(content)
    if call == "finalize":
        monkeypatch.setattr(ReadWriteBlockstore, "finalize", full)
    elif call == "copy_beside":
        monkeypatch.setattr(StoreFile, "copy_beside", full)
    else:
        monkeypatch.setattr(call, full)
    ran = put(tmp_path, "x.car")
    assert (ran.code, ran.out) == (1, b"")
    assert "No space left on device" in ran.err
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("x.car", content)]


def test_a_fault_while_a_new_archive_is_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ReadWriteBlockstore, "finalize", full)
    assert put(tmp_path, "x.car").code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", unsupported)
    assert put(tmp_path, "x.car").code == 0
    assert [each.name for each in tmp_path.iterdir()] == ["x.car"]
    assert carv2.verify(tmp_path / "x.car").ok


def test_an_archive_that_somebody_else_creates_meanwhile_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = append.publish  # type: ignore[attr-defined]

    def late(draft: str, target: str) -> None:
        (tmp_path / "x.car").write_bytes(indexed([FISH]))
        publish(draft, target)

    monkeypatch.setattr(append, "publish", late)
    ran = put(tmp_path, "x.car")
    assert (ran.code, ran.out) == (1, b"")
    assert "File exists" in ran.err
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("x.car", indexed([FISH]))]


def test_an_archive_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    with ReadWriteBlockstore.create(path) as store:
        store.put(*FISH)
        for command in (["put-block", "x.car"], ["recover", "x.car"], ["recover", "--apply", "x.car"]):
            ran = run(tmp_path, command)
            assert (ran.code, ran.out) == (1, b"")
            assert "locked by another writer" in ran.err
        assert store.put(*LOBSTER)
    assert put(tmp_path, "x.car").code == 0
    assert [block.data for block in carv2.open(path)] == [b"fish", b"lobster", b"whale"]


def test_an_archive_that_was_replaced_while_its_lock_was_awaited_is_the_one_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(indexed([FISH]))

    locked: list[str] = []

    def replaced(_fd: int, name: str) -> None:
        if str(path) == name and not locked:
            (tmp_path / "y.car").write_bytes(indexed([LOBSTER]))
            os.replace(tmp_path / "y.car", path)
        locked.append(name)

    monkeypatch.setattr("carv2._storefile.lock", replaced)
    assert put(tmp_path, "x.car").code == 0
    assert locked[:2] == [str(path)] * 2
    assert [block.data for block in carv2.open(path)] == [b"lobster", b"whale"]


def test_a_link_stays_a_link_and_a_mode_a_mode(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(indexed([FISH]))
    path.chmod(0o640)
    (tmp_path / "link.car").symlink_to("x.car")
    assert put(tmp_path, "link.car").code == 0
    assert (tmp_path / "link.car").is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [block.data for block in carv2.open(path)] == [b"fish", b"whale"]
    (tmp_path / "dangling.car").symlink_to("new.car")
    assert put(tmp_path, "dangling.car").code == 0
    assert carv2.verify(tmp_path / "new.car").ok


def test_what_is_no_file_is_not_copied(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.car")
    (tmp_path / "folder.car").mkdir()
    for name in ("pipe.car", "folder.car", "/dev/zero"):
        ran = put(tmp_path, name)
        assert (ran.code, ran.err) == (1, f"carv2: {name}: not a regular file\n")


def test_a_block_that_is_there_leaves_the_file_untouched(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(archives.v2(archives.v1([], [archives.FISH])))  # no index: finishing it would give it one
    before = path.stat()
    assert put(tmp_path, "x.car", data=b"fish").err == "Block already in CAR file: x.car\n"
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("size", [0, 1, 300_000, (8 << 20) - 36, (8 << 20) - 35, 20 << 20])
def test_a_block_is_as_large_as_a_section_allows(tmp_path: Path, size: int) -> None:
    ran = put(tmp_path, "x.car", data=bytes(size))
    if size + 36 <= 8 << 20:
        assert [len(block.data) for block in carv2.open(tmp_path / "x.car")] == [size]
        assert (ran.code, ran.out.decode()) == (0, f"{CID.of_data(bytes(size))}\n")
    else:
        assert (ran.code, ran.out, list(tmp_path.iterdir())) == (1, b"", [])
        assert "limit 8388608" in ran.err


@pytest.mark.parametrize("codec", ["raw", "dag-pb", "dag-cbor", "dag-json"])
def test_the_cid_has_the_codec_that_was_asked_for(tmp_path: Path, codec: str) -> None:
    ran = put(tmp_path, "-c", codec, "x.car")
    assert ran.out.decode() == f"{CID.of_data(b'whale', codec=codec)}\n"
    assert [block.cid for block in carv2.open(tmp_path / "x.car")] == [CID.of_data(b"whale", codec=codec)]


@pytest.mark.parametrize("hash_name", ["sha2-512", "blake2b-256", "sha3-256"])
def test_a_cid_of_any_hash_can_be_named(tmp_path: Path, hash_name: str) -> None:
    cid = CID.of_data(b"whale", hash=hash_name)
    assert put(tmp_path, "--cid", str(cid), "x.car").out.decode() == f"{cid}\n"
    wrong = put(tmp_path, "--cid", str(cid), "x.car", data=b"fish")
    computed = CID.of_data(b"fish", hash=hash_name)
    assert wrong.err == f"carv2: CID mismatch: expected {cid}, computed {computed}\n"
    assert wrong.code == 1


def test_a_version_0_cid_is_compared_with_one(tmp_path: Path) -> None:
    cid = CID.of_data(b"whale", codec="dag-pb", version=0)
    other = CID.of_data(b"fish", codec="dag-pb", version=0)
    ran = put(tmp_path, "--cid", str(cid), "x.car", data=b"fish")
    assert ran.err == f"carv2: CID mismatch: expected {cid}, computed {other}\n"


def test_recovering_lists_identity_cids_if_the_writer_did(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    cid = CID.of_data(b"in the CID", hash="identity")
    store = ReadWriteBlockstore.create(path, store_identity=True)
    store.put(cid, b"in the CID")
    store.close()
    assert run(tmp_path, ["recover", "--apply", "x.car"]).code == 0
    with carv2.open(path) as car:
        assert car.index is not None
        assert cid in car.index
    assert carv2.verify(path).ok


@pytest.mark.parametrize("cut", range(1, 48))
def test_recovering_a_cut_file_keeps_what_is_whole_and_says_what_went(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "x.car"
    content = archives.PRAGMA + bytes(40) + archives.v1([], [archives.FISH, archives.LOBSTER])
    path.write_bytes(content[:-cut])
    last = 1 + 36 + len(b"lobster")
    lost = last - cut if cut <= last else last + 41 - cut
    for command in (["recover", "x.car"], ["recover", "--apply", "x.car"]):
        before = path.read_bytes()
        ran = run(tmp_path, command)
        assert (ran.code, f"cut: {lost} bytes" in ran.out.decode().lower()) == ((1, True) if lost else (0, False))
        assert before == content[:-cut]
    assert [block.data for block in carv2.open(path)] == ([b"fish"] if cut <= last else [])
    assert carv2.verify(path).ok
    assert examine_file(path).state == "finalized"

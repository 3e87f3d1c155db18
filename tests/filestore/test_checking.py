"""What is said of each reference when originals and archives are no longer what they were."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carv2 import CID
from carv2.blockstore import ReadOnlyBlockstore
from carv2.errors import CarError, CorruptReferenceError, FormatError
from carv2.filestore import (
    FileReference,
    FileStore,
    ReferenceStatus,
    Status,
    check_references,
    import_by_reference,
    is_ref_car,
    verify_references,
)
from carv2.filestore._following import Follower
from carv2.unixfs import ImportProfile
from filestore.reading import LETTERS, archive_of, archive_with, key_of, leaves_in, record_of
from helpers import archives

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAYLOAD = bytes(range(100))


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "original"
    path.parent.mkdir()
    path.write_bytes(PAYLOAD)
    return path


def statuses(archive: bytes, *allow: Path, hashes: bool = True) -> list[tuple[str, str]]:
    """Status and what changed; after a look that all that is not ok cannot be read, and all else can."""
    with FileStore(archive, allow=allow) as store:
        found = list(check_references(store, hashes=hashes))
        for each in found if hashes else ():
            assert (each.detail == "") == (each.status is Status.OK)
            if each.status is Status.OK or "links of the block" in each.detail:
                assert each.cid.matches(store[each.cid])
            else:
                with pytest.raises(CarError) as caught:
                    _ = store[each.cid]
                if isinstance(caught.value, CorruptReferenceError):
                    assert caught.value.status is each.status
                    assert each.detail in str(caught.value)
    return [(str(each.status), each.detail) for each in found]


def truncate(path: Path) -> None:
    os.truncate(path, 35)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def grow(path: Path) -> None:
    path.write_bytes(PAYLOAD + b"more")


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(PAYLOAD[::-1])
    other.replace(path)


def edit(path: Path) -> None:
    path.write_bytes(PAYLOAD[:55] + b"!" + PAYLOAD[56:])


def move(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def move_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


OK = ("ok", "")
HASH = ("changed", "other bytes are there: their hash differs")
GONE = ("no-file", "the file is gone")
FAULTS: list[tuple[Callable[[Path], None], list[tuple[str, str]]]] = [
    (
        truncate,
        [OK] * 3
        + [("changed", f"the file has 35 bytes, the reference needs {end}") for end in range(40, 101, 10)],
    ),
    (empty, [("changed", f"the file has 0 bytes, the reference needs {end}") for end in range(10, 101, 10)]),
    (grow, [OK] * 10),
    (replace, [HASH] * 10),
    (edit, [OK] * 5 + [HASH] + [OK] * 4),
    (move, [GONE] * 10),
    (move_folder, [GONE] * 10),
    (make_folder, [("error", "a folder, not a file")] * 10),
    (make_pipe, [("error", "a named pipe, not a file")] * 10),
]


@pytest.mark.parametrize("variant", LETTERS)
@pytest.mark.parametrize(("change", "expected"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_each_reference_has_a_status_with_what_changed(
    original: Path, variant: str, change: Callable[[Path], None], expected: list[tuple[str, str]]
) -> None:
    archive = archive_of(leaves_in(original), variant=variant)
    assert statuses(archive, original.parent) == [OK] * 10
    allow = original.parent
    change(original)
    assert statuses(archive, allow) == expected
    unhashed = [OK if each == HASH else each for each in expected]
    assert statuses(archive, allow, hashes=False) == unhashed


@pytest.mark.parametrize(("change", "expected"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_change_is_noticed_though_the_original_is_open(
    original: Path, change: Callable[[Path], None], expected: list[tuple[str, str]]
) -> None:
    with FileStore(archive_of(leaves_in(original)), allow=[original.parent]) as store:
        assert {each.status for each in check_references(store)} == {Status.OK}
        change(original)
        assert [(str(each.status), each.detail) for each in check_references(store)] == expected


def test_an_original_that_comes_back_is_ok_again(original: Path) -> None:
    with FileStore(archive_of(leaves_in(original)), allow=[original.parent]) as store:
        original.unlink()
        assert {each.status for each in check_references(store)} == {Status.FILE_NOT_FOUND}
        original.write_bytes(PAYLOAD)
        assert {each.status for each in check_references(store)} == {Status.OK}


def test_an_unreadable_original_is_an_error(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = archive_of(leaves_in(original)[:1])
    real = os.open

    def refusing(path: object, *rest: object, **more: object) -> int:
        if path == b"original":
            raise PermissionError(13, "Permission denied", path)
        return real(path, *rest, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refusing)
        assert statuses(archive, original.parent) == [("error", "Permission denied")]

    def broken(_fd: int, _size: int, _offset: int) -> bytes:
        raise OSError(5, "Input/output error")

    with FileStore(archive, allow=[original]) as store, monkeypatch.context() as patch:
        patch.setattr(os, "pread", broken)
        assert [each.detail for each in check_references(store)] == ["Input/output error"]


def test_what_is_not_allowed_is_said(original: Path) -> None:
    archive = archive_of(leaves_in(original)[:1])
    expected = [("error", "not allowed: it is in none of the folders that may be read")]
    assert statuses(archive) == statuses(archive, original.parent / "x") == expected


def test_all_kinds_of_faults_side_by_side_and_everything_else_is_served(original: Path) -> None:
    good, damaged, gone, far, folder, unknown, node, last = leaves_in(original)[:8]
    unknown_cid = archives.cid_v1(b"", code=0x7FFF, digest=bytes(32))
    node_cid, node_data = archives.node(last.cid)
    bad_links = archives.cid_v1(b"\xff", codec=archives.DAG_CBOR)
    links = [
        good.cid,
        damaged.cid,
        gone.cid,
        far.cid,
        folder.cid,
        unknown_cid,
        node_cid,
        bad_links,
        node.cid,
        last.cid,
    ]
    root = archives.node(*links)
    blocks = [
        root,
        good.section(),
        (key_of(damaged.cid, "A"), b"\x0a\x7f?"),
        (key_of(gone.cid), record_of(original.with_name("gone"), 0, 10)),
        (key_of(far.cid), record_of(original, 95, 10)),
        (key_of(folder.cid), record_of(original.parent, 0, 10)),
        (key_of(unknown_cid), record_of(original, 0, 10)),
        (node_cid, node_data[:-1] + b"!"),  # damaged: last is still linked to by the root
        (bad_links, b"\xff"),
        last.section("A"),
        (key_of(unknown.cid), record_of(original, 0, 10)),  # nothing links to it
    ]
    archive = archive_with([root[0]], blocks)
    found = statuses(archive, original.parent)
    assert [status for status, _ in found] == [
        "ok", "ERROR", "no-file", "changed", "error", "ERROR", "ERROR", "ERROR", "missing", "ok",
    ]  # fmt: skip
    details = [detail for _, detail in found]
    assert details[1].endswith("is damaged: record: a field ends 126 bytes behind the record")
    assert details[3] == "the file has 100 bytes, the reference needs 105"
    assert details[5].startswith("no hash function")
    assert details[6].startswith("the block is damaged: the data are not those of")
    assert details[7].startswith("the links of the block cannot be read: ")
    assert details[8] == "neither a block nor a record of it is there"

    seen: list[ReferenceStatus] = []
    report = verify_references(archive, allow=[original.parent], on_status=seen.append)
    assert [(str(each.status), each.detail) for each in seen if each.is_linked] == found
    assert [str(each.status) for each in seen if not each.is_linked] == ["ok"]
    assert report.counts == {
        Status.OK: 2, Status.OTHER_ERROR: 4, Status.FILE_NOT_FOUND: 1,
        Status.FILE_CHANGED: 1, Status.FILE_ERROR: 1, Status.KEY_NOT_FOUND: 1,
    }  # fmt: skip
    assert (report.node_count, report.leaf_count, report.orphan_count, report.size) == (1, 7, 1, 60)
    assert report.problems == tuple(each for each in seen if each.status)
    assert not report.ok
    assert not report.damage


def test_a_node_whose_codec_nobody_knows_is_not_ok(original: Path) -> None:
    unknown = archives.cid_v1(b"what", codec=0x7E)
    archive = archive_with([unknown], [(unknown, b"what")])
    report = verify_references(archive, allow=[original])
    assert not report.ok
    assert report.problems[0].detail.startswith("the links of the block cannot be read: no codec here for ")
    with FileStore(archive, allow=[]) as store:
        assert list(store) == [CID(unknown)]
        assert store[unknown] == b"what"


def test_a_sound_archive_is_ok(original: Path) -> None:
    report = verify_references(archive_of(leaves_in(original)), allow=[original])
    assert report.ok
    assert report.counts == {Status.OK: 10}
    assert (report.node_count, report.leaf_count, report.orphan_count, report.size) == (1, 10, 0, 100)
    assert report.problems == ()
    dense = archive_with([leaves_in(original)[0].cid], [(leaf.cid, leaf.data) for leaf in leaves_in(original)])
    report = verify_references(dense, allow=[])
    assert report.ok
    assert (report.node_count, report.leaf_count, report.node_bytes) == (1, 0, 10)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_record_is_followed_once_for_all_codecs_of_links_to_it(
    original: Path, monkeypatch: pytest.MonkeyPatch, *, is_there: bool
) -> None:
    leaf = leaves_in(original)[0]
    multihash = CID(leaf.cid).multihash
    odd = [b"\x01" + number.to_bytes(1, "big") + multihash for number in range(1, 0x50)]
    archive = archive_with([*odd, leaf.cid], [leaf.section()])
    if not is_there:
        original.unlink()
    reads: list[FileReference] = []
    real = Follower.read

    def read(self: Follower, asked: FileReference) -> bytes:
        reads.append(asked)
        return real(self, asked)

    monkeypatch.setattr(Follower, "read", read)
    report = verify_references(archive, allow=[original])
    status = Status.OK if is_there else Status.FILE_NOT_FOUND
    assert (dict(report.counts), len(reads)) == ({status: 80}, 2)
    with FileStore(archive, allow=[original]) as store:
        assert [each.cid.raw for each in check_references(store)] == [*odd, leaf.cid]


def test_a_leaf_counts_once_however_often_it_is_linked(original: Path) -> None:
    leaf = leaves_in(original)[0]
    inner = archives.node(leaf.cid, leaf.cid)
    root = archives.node(inner[0], leaf.cid, inner[0], archives.identity(b"x"))
    archive = archive_with([root[0], root[0]], [root, inner, leaf.section()])
    report = verify_references(archive, allow=[original])
    assert (report.node_count, report.leaf_count, report.size) == (2, 1, 10)


@pytest.mark.parametrize("with_index", [True, False])
def test_an_archive_that_is_cut_anywhere_serves_what_it_still_has(original: Path, with_index: bool) -> None:
    leaves = leaves_in(original, 40)
    whole = archive_of(leaves, with_index=with_index)
    start = 51 + len(archives.header([bytes(32 + 4)]))
    for end in range(len(whole)):
        cut = whole[:end]
        if end < start:
            with pytest.raises(FormatError):
                verify_references(cut, allow=[original])
            continue
        report = verify_references(cut, allow=[original])
        assert not report.ok
        assert report.damage
        assert sum(report.counts.values()) >= 1
        with FileStore(cut, allow=[original], salvage=True) as store:
            for leaf in leaves:
                served = store.get(leaf.cid)
                section = b"".join(leaf.section())
                assert served == (leaf.data if section in cut else None)


@pytest.mark.parametrize("with_index", [True, False])
def test_an_archive_that_is_cut_is_not_opened_unless_that_is_asked_for(original: Path, with_index: bool) -> None:
    whole = archive_of(leaves_in(original), with_index=with_index)
    for cut in (whole[:-1], whole[: len(whole) // 2]):
        with pytest.raises(FormatError):
            FileStore(cut, allow=[original])[leaves_in(original)[9].cid]


def test_no_single_wrong_byte_makes_wrong_bytes(original: Path) -> None:
    leaves = leaves_in(original, 40)
    whole = archive_of(leaves)
    right = {CID(leaf.cid): leaf.data for leaf in leaves}
    for at in range(len(whole)):
        broken = bytearray(whole)
        broken[at] ^= 1 << at % 8
        try:
            store = FileStore(bytes(broken), allow=[original.parent], salvage=True)
        except CarError:
            continue
        with store:
            served = [cid for cid in right if _is_served(store, cid, right[cid])]
        report = verify_references(bytes(broken), allow=[original.parent])
        assert report.counts.get(Status.OK, 0) <= len(served)
        assert len(served) == len(right) or not report.ok


def _is_served(store: FileStore, cid: CID, data: bytes) -> bool:
    try:
        found = store[cid]
    except CarError:
        return False
    assert found == data
    return True


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_originals_that_change_at_random_have_the_status_that_their_bytes_say(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "file"
    path.write_bytes(PAYLOAD)
    leaves = leaves_in(path, data.draw(st.integers(1, 40)))
    archive = archive_of(leaves)
    changed = bytearray(PAYLOAD[: data.draw(st.integers(0, 100))])
    for at in data.draw(st.lists(st.integers(0, 99), max_size=3)):
        changed[at : at + 1] = b"?" if at < len(changed) else b""
    path.write_bytes(changed)
    with FileStore(archive, allow=[path]) as store:
        found = {bytes(each.cid): each.status for each in check_references(store)}
        for leaf in leaves:
            same = changed[leaf.offset : leaf.offset + len(leaf.data)] == leaf.data
            assert found[leaf.cid] is (Status.OK if same else Status.FILE_CHANGED)


def test_an_import_is_checked_and_its_original_followed(tmp_path: Path) -> None:
    profile = ImportProfile(name="small", chunk_size=100, file_links=5)
    source = tmp_path / "file"
    source.write_bytes(os.urandom(12_345))
    for variant in "ABCD":
        import_by_reference(source, tmp_path / "ref.car", profile=profile, variant=variant)
        assert is_ref_car(tmp_path / "ref.car")
        report = verify_references(tmp_path / "ref.car", allow=[source])
        assert report.ok
        assert (report.leaf_count, report.size, report.orphan_count) == (124, 12_345, 0)
        with ReadOnlyBlockstore(tmp_path / "ref.car", whole_cids=True) as plain:
            assert report.node_count + report.leaf_count == len(plain)

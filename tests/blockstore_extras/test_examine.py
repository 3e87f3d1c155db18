"""Looking a file over changes nothing, keeps writers out, and tells states apart."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import carv2
from blockstore_extras.stores import FISH, LOBSTER, damaged, indexed
from carv2._storefile import StoreFile
from carv2.blockstore import ReadWriteBlockstore, examine_file
from carv2.cid import CID
from carv2.errors import FormatError, IntegrityError, LockedError, ResumeError
from carv2.units import Limits
from helpers import archives

if TYPE_CHECKING:
    from pathlib import Path

PAYLOAD = archives.v1([archives.FISH[0]], [archives.FISH, archives.LOBSTER])
ZEROS = archives.PRAGMA + bytes(40)

STATES = {
    "whole v1": (PAYLOAD, ("whole", 1, 2, 0)),
    "cut v1": (PAYLOAD[:-1], ("torn", 1, 1, 43)),
    "finalized": (indexed([FISH, LOBSTER]), ("finalized", 2, 2, 0)),
    "at a checkpoint": (archives.v2(PAYLOAD), ("whole", 2, 2, 0)),
    "behind a checkpoint": (archives.v2(PAYLOAD) + archives.section(*archives.BARRELEYE), ("whole", 2, 3, 0)),
    "torn behind a checkpoint": (archives.v2(PAYLOAD) + bytes(9), ("torn", 2, 2, 9)),
    "unfinished": (ZEROS + PAYLOAD, ("unfinished", 2, 2, 0)),
    "unfinished, padded": (ZEROS + bytes(9) + PAYLOAD, ("unfinished", 2, 2, 0)),
    "torn, unfinished": (ZEROS + PAYLOAD[:-9], ("torn", 2, 1, 35)),
}


@pytest.mark.parametrize("name", STATES)
def test_each_state_is_told_and_the_file_is_left_as_it_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.car"
    content, expected = STATES[name]
    path.write_bytes(content)
    before = path.stat()
    found = examine_file(path, check_promised=True)
    assert (found.state, found.version, found.block_count, found.cut_bytes) == expected
    assert (found.reason is None) == (expected[3] == 0)
    after = path.stat()
    assert (path.read_bytes(), after.st_mtime_ns, after.st_ino) == (content, before.st_mtime_ns, before.st_ino)
    assert found.index_kept is (name == "finalized")
    with ReadWriteBlockstore.resume(path) as store:  # which finds the same
        assert store.recovery == found


@pytest.mark.parametrize("says_all", [False, True])
def test_an_index_without_identity_cids_is_right_unless_the_header_says_that_it_has_them(
    tmp_path: Path,
    says_all: bool,
) -> None:
    path = tmp_path / "x.car"
    with ReadWriteBlockstore.create(path, store_identity=True) as store:
        store.put_many([FISH, (CID.of_data(b"inlined", hash="identity"), b"inlined")])
    assert examine_file(path).index_kept
    carv2.reindex(path, path, identity=False)
    content = bytearray(path.read_bytes())
    content[11] |= 0x80 if says_all else 0
    path.write_bytes(content)
    assert examine_file(path).index_kept is not says_all


def test_a_file_that_is_being_written_is_locked(tmp_path: Path) -> None:
    with ReadWriteBlockstore.create(tmp_path / "x.car"), pytest.raises(LockedError):
        examine_file(tmp_path / "x.car")
    assert examine_file(tmp_path / "x.car").state == "finalized"
    with ReadWriteBlockstore.resume(tmp_path / "x.car"):  # the look has let go of its lock
        pass


def test_a_file_that_may_not_be_written_to_is_looked_at_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(PAYLOAD)
    for number in (13, 1, 30):

        def refuse(_path: object, number: int = number) -> StoreFile:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(StoreFile, "resume", refuse)
        assert examine_file(path).block_count == 2

    def broken(_path: object) -> StoreFile:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(StoreFile, "resume", broken)
    with pytest.raises(OSError, match="Input/output"):
        examine_file(path)


def test_padding_that_is_not_as_it_must_be_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(ZEROS + bytes(9) + PAYLOAD)
    assert examine_file(path, data_padding=9).block_count == 2
    with pytest.raises(ResumeError, match="9 bytes, not 0") as caught:
        examine_file(path, data_padding=0)
    assert (caught.value.expected, caught.value.found) == (0, 9)


def test_a_broken_promise_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(damaged([FISH, LOBSTER], FISH))
    assert examine_file(path).state == "finalized"
    with pytest.raises(IntegrityError):
        examine_file(path, check_promised=True)
    path.write_bytes(archives.v2(PAYLOAD)[:-1])
    with pytest.raises(FormatError, match="promises data up to byte"):
        examine_file(path)


def test_limits_and_null_padding_are_those_of_resume(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(PAYLOAD + bytes(9))
    assert examine_file(path).cut_bytes == 9
    assert examine_file(path, null_padding=True).cut_bytes == 0
    assert examine_file(path, null_padding=False).cut_bytes == 9
    with pytest.raises(ResumeError, match="limit 40"):
        examine_file(path, limits=Limits(section=40))


def test_what_is_no_archive_or_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"not an archive")
    with pytest.raises(FormatError):
        examine_file(tmp_path / "text")
    with pytest.raises(FileNotFoundError):
        examine_file(tmp_path / "missing.car")
    with pytest.raises(IsADirectoryError):
        examine_file(tmp_path)

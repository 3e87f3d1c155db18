"""Archives that are mapped into memory: the same answers, and what is said to be the price of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2 import CID
from carv2.blockstore import ReadOnlyBlockstore
from carv2.errors import BlockNotFoundError, ClosedError, FormatError

if TYPE_CHECKING:
    from pathlib import Path

BLOCKS = [
    (CID.of_data(data), data) for data in (bytes([n % 251]) * n for n in (1, 90, 300, 5000, 70_000, 300_000))
]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    plain, path = tmp_path / "plain.car", tmp_path / "wrapped.car"
    plain.write_bytes(b"".join(carv2.iter_car([BLOCKS[0][0]], BLOCKS)))
    carv2.wrap(plain, path)
    return path


def test_a_mapped_archive_reads_like_any_other(archive: Path) -> None:
    for path in (archive, archive.with_name("plain.car")):
        with carv2.open(path) as plain, carv2.open(path, memory_map=True) as mapped:
            assert list(mapped) == list(plain)
            assert list(mapped.sections()) == list(plain.sections())
            assert (mapped.roots, mapped.version) == (plain.roots, plain.version)
            assert [mapped.get(cid) for cid, _ in BLOCKS] == [data for _, data in BLOCKS]


def test_nothing_is_mapped_unless_asked_for(archive: Path) -> None:
    maps = "/proc/self/maps"
    if not os.path.exists(maps):
        pytest.skip("no list of what is mapped on this system")

    def is_mapped() -> bool:
        with open(maps, encoding="utf-8") as file:
            return str(archive) in file.read()

    with carv2.open(archive) as car, ReadOnlyBlockstore(archive) as store:
        assert car.get(BLOCKS[2][0]) == store[BLOCKS[2][0]]
        assert not is_mapped()
    with carv2.open(archive, memory_map=True) as car:
        assert car.get(BLOCKS[2][0]) == BLOCKS[2][1]
        assert is_mapped()
    assert not is_mapped()


@pytest.mark.parametrize("verify", [True, False])
def test_blocks_of_every_size_are_got_again_and_again(archive: Path, verify: bool) -> None:
    with ReadOnlyBlockstore(archive, memory_map=True, verify=verify) as store:
        for _ in range(40):  # beyond the look-ups by which samples are taken
            for cid, data in BLOCKS:
                assert store[cid] == data
        with pytest.raises(BlockNotFoundError):
            store[CID.of_data(b"not here")]


def test_a_closed_store_says_so(archive: Path) -> None:
    store = ReadOnlyBlockstore(archive, memory_map=True)
    for _ in range(40):
        assert store[BLOCKS[1][0]] == BLOCKS[1][1]
    store.close()
    store.close()
    with pytest.raises(ClosedError):
        store[BLOCKS[1][0]]
    with carv2.open(archive, memory_map=True) as car:
        pass
    with pytest.raises(ClosedError):
        list(car)


def test_what_is_no_path_is_not_mapped(archive: Path) -> None:
    data = archive.read_bytes()
    with ReadOnlyBlockstore(data, memory_map=True) as store, archive.open("rb") as file:
        assert store[BLOCKS[3][0]] == BLOCKS[3][1]
        assert carv2.open(file, memory_map=True).get(BLOCKS[3][0]) == BLOCKS[3][1]


def test_an_empty_file_cannot_be_mapped_and_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "empty.car"
    path.touch()
    with pytest.raises(FormatError):
        carv2.open(path, memory_map=True)
    with pytest.raises(FileNotFoundError):
        carv2.open(tmp_path / "missing.car", memory_map=True)


SHRINKS = """
import os, sys
from carv2.blockstore import ReadOnlyBlockstore
from carv2.errors import CarError
path, cid, mapped = sys.argv[1:]
store = ReadOnlyBlockstore(path, memory_map=mapped == "mapped")
store[cid]
os.truncate(path, 60)
try:
    store[cid]
except CarError as error:
    print("an error:", type(error).__name__)
"""


def shrink(archive: Path, how: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SHRINKS, str(archive), str(BLOCKS[-1][0]), how]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_file_that_shrinks_is_an_error_by_default(archive: Path) -> None:
    done = shrink(archive, "read")
    assert (done.returncode, done.stdout) == (0, "an error: TruncatedError\n"), done.stderr


def test_and_kills_the_process_that_has_mapped_it_as_is_said(archive: Path) -> None:
    assert shrink(archive, "mapped").returncode == -signal.SIGBUS

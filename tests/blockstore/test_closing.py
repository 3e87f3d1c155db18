"""A read-only store closes what it opened for its index, and only that."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import fsspec
import pytest

import carv2
from carv2._source import open_source
from carv2.blockstore import ReadOnlyBlockstore, read_only
from carv2.errors import ClosedError, FormatError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FISH = carv2.CID.of_data(b"fish")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """It has an index of its own, and another in a file beside it."""
    path = tmp_path / "a.car"
    with carv2.create(path, [FISH]) as car:
        car.write(FISH, b"fish")
    with carv2.open(path) as car:
        (tmp_path / "a.idx").write_bytes(b"".join(car.build_index(identity=True).chunks()))
    return path


def _detached(archive: Path) -> ReadOnlyBlockstore:
    return ReadOnlyBlockstore(archive, index=archive.with_suffix(".idx"))


def _generated(archive: Path) -> ReadOnlyBlockstore:
    return ReadOnlyBlockstore(archive, rebuild_index=True)


def _remote(archive: Path) -> ReadOnlyBlockstore:
    return ReadOnlyBlockstore(fsspec.filesystem("local").open(str(archive)))


@pytest.mark.parametrize("opened", [_detached, _generated, _remote])
def test_what_was_opened_for_the_index_is_closed_with_the_store(
    archive: Path, opened: Callable[[Path], ReadOnlyBlockstore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_only, "_SPILL", 0)
    with opened(archive) as store:
        assert list(store.index.offsets_of(FISH))
    with pytest.raises(ClosedError):
        list(store.index.offsets_of(FISH))
    store.close()


def test_what_the_caller_opened_stays_open(archive: Path) -> None:
    path = archive.with_suffix(".idx")
    with path.open("rb") as file, closing(open_source(path)) as source:
        for index in (file, source):
            with ReadOnlyBlockstore(archive, index=index) as store:
                assert store[FISH] == b"fish"
        assert file.read() == source.read_at(0, source.size) == path.read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells less elsewhere")
def test_what_is_no_index_is_closed_at_once(archive: Path) -> None:
    (junk := archive.with_suffix(".junk")).write_bytes(b"junk" * 10)
    with pytest.raises(FormatError):
        ReadOnlyBlockstore(archive, index=junk)
    targets = {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}
    assert not targets & {str(junk), str(archive)}

"""A file is replaced whole or not at all."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from carv2 import _atomic
from carv2._atomic import replacing

if TYPE_CHECKING:
    from pathlib import Path


def test_the_new_content_appears_at_the_end_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new content")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new content"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("existed", [True, False])
def test_an_exception_leaves_everything_as_it_was(tmp_path: Path, existed: bool) -> None:
    path = tmp_path / "file"
    if existed:
        path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:  # noqa: PT012
        file.write(b"half")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == (["file"] if existed else [])
    if existed:
        assert path.read_bytes() == b"old"


def test_the_mode_of_the_old_file_is_kept_and_a_new_one_has_the_usual(tmp_path: Path) -> None:
    path, plain = tmp_path / "file", tmp_path / "plain"
    path.write_bytes(b"old")
    path.chmod(0o640)
    plain.write_bytes(b"")
    with replacing(path) as file:
        file.write(b"new")
    with replacing(tmp_path / "fresh"):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert (tmp_path / "fresh").stat().st_mode == plain.stat().st_mode


def test_a_link_stays_one_and_its_target_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with replacing(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_the_bytes_are_durable_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(fd: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
        fsync(fd)

    def watched_replace(source: str, target: str) -> None:
        done.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    with replacing(tmp_path / "file") as file:
        file.write(b"x")
    assert done == ["file", "rename", "folder"]


def test_what_is_not_synced_still_gets_its_name_at_the_end_and_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_fsync(fd: int) -> None:
        raise AssertionError(f"descriptor {fd} was synced")

    monkeypatch.setattr(os, "fsync", no_fsync)
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path, sync=False) as file:
        file.write(b"new content")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new content"
    assert os.listdir(tmp_path) == ["file"]


def test_each_new_folder_has_a_durable_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = list[str]()
    monkeypatch.setattr(_atomic, "sync_folder", lambda folder: synced.append(os.fspath(folder)))
    _atomic.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    assert synced == [str(tmp_path), str(tmp_path / "a")]
    _atomic.make_folder(tmp_path / "a" / "b")
    assert len(synced) == 2


def test_a_folder_may_be_made_where_names_may_not_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(_atomic, "sync_folder", refused)
    _atomic.make_folder(tmp_path / "a")
    assert (tmp_path / "a").is_dir()


def test_a_file_that_keeps_its_first_name_has_the_second_one_durably(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: object) -> None:
        raise OSError(5, "Input/output error")

    synced = list[object]()
    (tmp_path / "draft").write_bytes(b"x")
    monkeypatch.setattr(_atomic, "sync_folder", synced.append)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refused)
        _atomic.publish(str(tmp_path / "draft"), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"x"
    assert synced == [str(tmp_path)]

"""A file is replaced whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from typing import TYPE_CHECKING, Any, cast

import pytest

from carv2 import _atomic
from carv2._atomic import drafting, replacing, writing

if TYPE_CHECKING:
    from collections.abc import Callable
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


# -- each step of each way to a new file --------------------------------------------------------------------------


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was synced, renamed, linked and removed, in order, by the last part of its name."""
    done = list[str]()
    fsync, replace, rename, link, unlink = os.fsync, os.replace, os.rename, os.link, os.unlink

    def noted(said: str, call: Callable[..., None], *paths: object) -> None:
        done.append(said)
        call(*paths)

    def watched_fsync(fd: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"
        noted(f"sync {kind} {os.path.basename(os.readlink(f'/proc/self/fd/{fd}'))}"[:16], fsync, fd)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", lambda *paths: noted("replace", replace, *paths))
    monkeypatch.setattr(os, "rename", lambda *paths: noted("rename", rename, *paths))
    monkeypatch.setattr(os, "link", lambda *paths: noted("link", link, *paths))
    monkeypatch.setattr(os, "unlink", lambda path: noted("unlink", unlink, path))
    return done


needs_proc = pytest.mark.skipif(
    not os.path.exists("/proc/self/fd"), reason="what a descriptor leads to is in /proc"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    return made


@needs_proc
def test_a_draft_is_durable_at_the_end_and_stays_for_whoever_names_it(folder: Path, steps: list[str]) -> None:
    with drafting(str(folder)) as (file, path):
        file.write(b"new")
        assert os.path.dirname(path) == str(folder)
        file.seek(0)
        assert file.read() == b"new"
    assert [step[:9] for step in steps] == ["sync file"]
    assert (folder / os.path.basename(path)).read_bytes() == b"new"
    steps.clear()
    _atomic.replace(path, folder / "x")
    assert steps == ["replace", "sync folder fold"]
    assert (folder / "x").read_bytes() == b"new"
    assert os.listdir(folder) == ["x"]


def test_a_draft_is_gone_on_an_exception_also_where_somebody_removed_it(folder: Path) -> None:
    for removes in (False, True):
        with pytest.raises(KeyboardInterrupt), drafting(str(folder)) as (_, path):  # noqa: PT012
            if removes:
                os.unlink(path)
            raise KeyboardInterrupt
        assert os.listdir(folder) == []


def test_a_new_file_whose_draft_somebody_removed_is_an_exception_all_the_same(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), replacing(folder / "x"):  # noqa: PT012
        for name in os.listdir(folder):
            os.unlink(folder / name)
        raise KeyboardInterrupt
    assert os.listdir(folder) == []


@needs_proc
@pytest.mark.parametrize("sync", [True, False])
def test_a_file_is_published_once(folder: Path, steps: list[str], sync: bool) -> None:
    draft = folder / "draft"
    draft.write_bytes(b"new")
    _atomic.publish(str(draft), folder / "x", sync=sync)
    assert steps == ["link", "unlink", *["sync folder fold"] * sync]
    assert os.listdir(folder) == ["x"]
    draft.write_bytes(b"newer")
    steps.clear()
    with pytest.raises(FileExistsError):
        _atomic.publish(str(draft), folder / "x")
    assert steps == ["link"]
    assert (folder / "x").read_bytes() == b"new"


@needs_proc
def test_a_file_is_published_durably_unless_told_otherwise(folder: Path, steps: list[str]) -> None:
    (folder / "draft").write_bytes(b"new")
    _atomic.publish(str(folder / "draft"), folder / "x")
    assert steps == ["link", "unlink", "sync folder fold"]


@needs_proc
def test_where_there_are_no_links_a_file_is_renamed_unless_its_name_is_taken(
    folder: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    draft = folder / "draft"
    draft.write_bytes(b"new")
    _atomic.publish(str(draft), folder / "x")
    assert steps == ["rename", "sync folder fold"]
    assert os.listdir(folder) == ["x"]
    draft.write_bytes(b"newer")
    (folder / "dangling").symlink_to("nowhere")
    steps.clear()
    for name in ("x", "dangling"):
        with pytest.raises(FileExistsError) as caught:
            _atomic.publish(str(draft), folder / name)
        assert (caught.value.errno, caught.value.strerror) == (errno.EEXIST, os.strerror(errno.EEXIST))
        assert caught.value.filename == str(folder / name)
    assert steps == []
    assert draft.read_bytes() == b"newer"


@needs_proc
def test_names_without_a_folder_are_of_the_present_one(
    folder: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for name in ("draft", "another"):
        (folder / name).write_bytes(name.encode())
    _atomic.publish("draft", "x")
    _atomic.replace("another", "x")
    assert steps == ["link", "unlink", "sync folder fold", "replace", "sync folder fold"]
    assert (folder / "x").read_bytes() == b"another"


@needs_proc
@pytest.mark.parametrize("sync", [True, False])
def test_a_sink_at_a_path_is_a_file_that_is_replaced(folder: Path, steps: list[str], sync: bool) -> None:
    path = folder / "x"
    for named in (path, str(path)):
        steps.clear()
        with writing(named, sync=sync) as file:
            file.write(b"new")
        assert steps[-1] == ("sync folder fold" if sync else "replace")
        assert ("replace" in steps, path.read_bytes()) == (True, b"new")
        path.write_bytes(b"old")


@needs_proc
def test_a_sink_at_a_path_is_durable_unless_told_otherwise(folder: Path, steps: list[str]) -> None:
    with writing(folder / "x"), replacing(folder / "y"):
        pass
    assert steps.count("sync folder fold") == 2


def test_a_sink_that_was_opened_by_somebody_else_is_written_to_as_it_is(folder: Path) -> None:
    with (folder / "x").open("wb") as file, writing(file) as sink:
        assert sink is file
    memory = io.BytesIO()
    with writing(memory) as sink:
        assert sink is memory


def test_a_sink_that_is_no_regular_file_is_written_to(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    reader = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with writing(folder / "pipe") as file:
        file.write(b"fish")
    assert os.read(reader, 10) == b"fish"
    os.close(reader)
    assert os.listdir(folder) == ["pipe"]


class Slow(io.RawIOBase):
    """Takes a few bytes at a time, and then nothing."""

    def __init__(self, *most: int | None) -> None:
        self.most, self.taken = list(most), b""

    def write(self, data: Any) -> int | None:
        most = self.most.pop(0)
        if most is None:
            return None
        self.taken += bytes(data[:most])
        return min(most, len(data))


def test_a_raw_file_that_takes_less_is_given_the_rest_again() -> None:
    raw = Slow(2, 1, 9)
    with writing(cast("Any", raw)) as sink:
        assert sink.write(b"fishes") == 6
        assert sink.write(b"") == 0
    assert raw.taken == b"fishes"
    assert raw.most == []


def test_a_raw_file_that_takes_nothing_is_an_error() -> None:
    with writing(cast("Any", Slow(2, None))) as sink, pytest.raises(BlockingIOError) as caught:
        sink.write(b"fishes")
    assert caught.value.errno == errno.EAGAIN


def test_what_is_not_there_is_removed_already(folder: Path) -> None:
    _atomic.unlink(folder / "nothing")
    (folder / "x").write_bytes(b"x")
    _atomic.unlink(folder / "x")
    assert os.listdir(folder) == []
    with pytest.raises(OSError, match=r"directory|permitted"):
        _atomic.unlink(folder)


@needs_proc
def test_a_folder_that_cannot_be_synced_is_closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    before = sorted(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        _atomic.sync_folder(folder)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_draft_has_a_name_that_tells_whose_it_is_and_nobody_else_has(folder: Path) -> None:
    names = {_atomic.draft_name(str(folder)) for _ in range(100)}
    assert len(names) == 100
    assert all(re.fullmatch(r"\.carv2-[0-9a-f]{16}\.part", os.path.basename(name)) for name in names)
    assert {os.path.dirname(name) for name in names} == {str(folder)}


def test_a_draft_whose_name_is_taken_gets_another(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [str(folder / "a"), str(folder / "a"), str(folder / "b")]
    (folder / "a").write_bytes(b"another's")
    asked = list[str]()

    def named(where: str) -> str:
        asked.append(where)
        return names[len(asked) - 1]

    monkeypatch.setattr(_atomic, "draft_name", named)
    fd, path = _atomic.create_in(str(folder), folder / "x")
    os.write(fd, b"fish")
    assert os.pread(fd, 9, 0) == b"fish"
    os.close(fd)
    assert (path, asked) == (names[2], [str(folder)] * 3)
    assert (folder / "a").read_bytes() == b"another's"
    usual = folder / "usual"
    usual.touch()
    assert stat.S_IMODE(os.stat(path).st_mode) == stat.S_IMODE(usual.stat().st_mode)


def test_a_draft_that_cannot_be_made_names_what_it_is_for(folder: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        _atomic.create_in(str(folder / "nowhere"), folder / "nowhere" / "x")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, str(folder / "nowhere" / "x"))
    assert caught.value.strerror == os.strerror(errno.ENOENT)
    with pytest.raises(FileNotFoundError) as caught, replacing(folder / "nowhere" / "x"):
        pass
    assert caught.value.filename == str(folder / "nowhere" / "x")
    with pytest.raises(FileNotFoundError) as caught, drafting(str(folder / "nowhere")):
        pass
    assert caught.value.filename == str(folder / "nowhere")


def test_a_folder_that_is_there_is_not_made_and_what_is_in_its_way_is_an_error(folder: Path) -> None:
    _atomic.make_folder(folder)
    (folder / "x").write_bytes(b"x")
    with pytest.raises(FileExistsError):
        _atomic.make_folder(folder / "x")


def test_folders_may_be_named_from_the_present_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = list[str]()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(_atomic, "sync_folder", lambda made: synced.append(os.fspath(made)))
    _atomic.make_folder("a/b/c")
    assert synced == [str(folder), str(folder / "a"), str(folder / "a" / "b")]


def test_a_new_file_is_open_for_reading_too(folder: Path) -> None:
    with replacing(folder / "x") as file:
        file.write(b"fish")
        file.seek(0)
        assert file.read() == b"fish"


def test_the_bits_beyond_permissions_are_kept_too(folder: Path) -> None:
    path = folder / "x"
    path.write_bytes(b"old")
    path.chmod(0o4750)
    with replacing(path):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == 0o4750

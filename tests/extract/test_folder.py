"""The folder that files are made in: nothing is made anywhere else, and no file is there by half."""

from __future__ import annotations

import errno
import os
import resource
import stat
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from carv2 import _folder
from carv2._folder import Folder
from carv2.errors import ClosedError
from extract.trees import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2._folder import Existing


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "into"


def test_files_directories_and_symlinks_are_made_where_the_place_is(into: Path) -> None:
    with Folder(into) as folder:
        assert folder.write(b"top", [b"1", b"", b"23"])
        folder.enter(b"a")
        folder.enter(b"b")
        assert folder.write(b"deep", [])
        folder.leave()
        assert folder.symlink(b"link", b"b/deep")
    assert snapshot(into) == {
        "top": b"123",
        "a": "directory",
        "a/b": "directory",
        "a/b/deep": b"",
        "a/link": "-> b/deep",
    }


def test_a_move_leaves_what_is_not_shared_and_enters_the_rest(into: Path) -> None:
    with Folder(into) as folder:
        for names in ([b"a", b"b"], [b"a", b"c"], [], [b"a", b"b", b"d"], [b"a"]):
            folder.move_to(names)
            assert folder.depth == len(names)
            folder.write(b"%d" % len(list(into.rglob("*"))), [b"/".join(names)])
    found = {path: data for path, data in snapshot(into).items() if isinstance(data, bytes)}
    assert {os.path.dirname(path).encode() for path in found} == set(found.values())


def test_the_folder_and_its_parents_are_made(tmp_path: Path) -> None:
    Folder(tmp_path / "x" / "y").close()
    assert (tmp_path / "x" / "y").is_dir()


def test_the_folder_itself_may_be_a_symlink(tmp_path: Path, into: Path) -> None:
    (tmp_path / "real").mkdir()
    into.symlink_to("real")
    with Folder(into) as folder:
        folder.write(b"f", [b"1"])
    assert snapshot(tmp_path / "real") == {"f": b"1"}


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/etc", b"../x", b"a\0b"])
def test_what_is_no_name_is_refused(into: Path, name: bytes) -> None:
    with Folder(into) as folder:
        for make in (
            lambda: folder.write(name, [b"x"]),
            lambda: folder.symlink(name, b"x"),
            lambda: folder.enter(name),
        ):
            with pytest.raises(ValueError, match="cannot be the name of a file"):
                make()
    assert snapshot(into.parent) == {"into": "directory"}


# -- what is there already ----------------------------------------------------------------------------------


def lay(into: Path, kind: str, outside: Path) -> None:
    """Put something of that kind at ``into / "name"``; what a symlink leads to is ``outside``."""
    into.mkdir(exist_ok=True)
    place = into / "name"
    if kind == "file":
        place.write_bytes(b"old")
    elif kind == "directory":
        place.mkdir()
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "dangling":
        place.symlink_to(outside / "new")
    else:
        place.symlink_to(outside / "secret" if kind == "to a file" else outside)


KINDS = ["file", "directory", "fifo", "dangling", "to a file", "to a directory"]


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory next to the folder; it must be as it was at the end."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "secret").write_bytes(b"secret")
    yield place
    assert snapshot(place) == {"secret": b"secret"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("existing", ["error", "keep"])
def test_what_is_there_stays(into: Path, outside: Path, kind: str, existing: Existing) -> None:
    lay(into, kind, outside)
    before = snapshot(into)
    with Folder(into, existing=existing) as folder:
        for make in (partial(folder.write, b"name", [b"new"]), partial(folder.symlink, b"name", b"new")):
            if existing == "keep":
                assert not make()
            else:
                with pytest.raises(FileExistsError, match="into/name"):
                    make()
    assert snapshot(into) == before


@pytest.mark.parametrize("kind", KINDS)
def test_replacing_replaces_the_thing_itself_and_never_writes_through_it(
    into: Path, outside: Path, kind: str
) -> None:
    lay(into, kind, outside)
    with Folder(into, existing="replace") as folder:
        if kind == "directory":
            with pytest.raises(IsADirectoryError, match="into/name"):
                folder.write(b"name", [b"new"])
            with pytest.raises(IsADirectoryError):
                folder.symlink(b"name", b"new")
            assert snapshot(into) == {"name": "directory"}
            return
        folder.write(b"name", [b"new"])
        assert snapshot(into) == {"name": b"new"}
        folder.symlink(b"name", b"elsewhere")
    assert snapshot(into) == {"name": "-> elsewhere"}


@pytest.mark.parametrize("existing", ["error", "keep", "replace"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "directory"])
def test_nothing_but_a_directory_is_entered(into: Path, outside: Path, kind: str, existing: Existing) -> None:
    lay(into, kind, outside)
    before = snapshot(into)
    with Folder(into, existing=existing) as folder, pytest.raises(NotADirectoryError, match="into/name"):
        folder.enter(b"name")
    assert snapshot(into) == before


def test_a_directory_that_is_there_is_written_into(into: Path) -> None:
    (into / "a").mkdir(parents=True, mode=0o700)
    (into / "a" / "old").write_bytes(b"old")
    with Folder(into) as folder:
        folder.enter(b"a", mode=0o755, mtime=(1, 0))
        folder.write(b"new", [b"new"])
        folder.leave()
    assert snapshot(into / "a") == {"old": b"old", "new": b"new"}
    assert stat.S_IMODE((into / "a").stat().st_mode) == 0o700  # it was not ours


def test_a_name_that_is_taken_after_the_look_is_still_not_replaced(into: Path) -> None:
    into.mkdir()
    (into / "other").touch()  # so that the folder is somebody else's

    def pieces() -> Iterator[bytes]:
        yield b"ours"
        (into / "name").write_bytes(b"theirs")

    with Folder(into) as folder, pytest.raises(FileExistsError):
        folder.write(b"name", pieces())
    assert snapshot(into) == {"other": b"", "name": b"theirs"}


def test_without_links_a_file_is_renamed(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    into.mkdir()
    (into / "other").touch()

    def link(*_: object, **__: object) -> NoReturn:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    with Folder(into) as folder:
        assert folder.write(b"name", [b"new"])
    assert snapshot(into) == {"other": b"", "name": b"new"}


# -- somebody who swaps things meanwhile --------------------------------------------------------------------


def test_a_directory_swapped_for_a_symlink_right_after_it_was_made_is_not_followed(
    into: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = os.mkdir

    def swapped(name: bytes, mode: int, *, dir_fd: int) -> None:
        make(name, mode, dir_fd=dir_fd)
        os.rmdir(name, dir_fd=dir_fd)
        os.symlink(outside, name, dir_fd=dir_fd)

    with Folder(into) as folder:
        monkeypatch.setattr(os, "mkdir", swapped)
        with pytest.raises(NotADirectoryError, match="symlinks are not followed"):
            folder.enter(b"a")


def test_a_directory_swapped_for_a_symlink_while_we_are_in_it_changes_nothing(into: Path, outside: Path) -> None:
    with Folder(into) as folder:
        folder.enter(b"a")
        (into / "a").rename(into / "moved")
        (into / "a").symlink_to(outside)
        folder.write(b"secret", [b"x"])
        folder.enter(b"b")
        folder.write(b"f", [b"y"])
    assert snapshot(into / "moved") == {"secret": b"x", "b": "directory", "b/f": b"y"}


@pytest.mark.parametrize("swap", ["symlink", "directory"])
def test_a_directory_swapped_while_its_descriptor_was_shut_is_not_entered_again(
    into: Path, outside: Path, swap: str
) -> None:
    deep = [b"d%d" % at for at in range(2 * _folder._MAX_OPEN)]
    with Folder(into) as folder:
        folder.move_to(deep)
        (into / "d0" / "d1").rename(into / "moved")
        if swap == "symlink":
            (into / "d0" / "d1").symlink_to(outside)
        else:
            (into / "d0" / "d1").mkdir()
        folder.move_to(deep[:2])
        with pytest.raises(OSError, match="d0/d1"):
            folder.write(b"f", [b"x"])
    assert list((into / "d0").iterdir()) == [into / "d0" / "d1"]
    assert not (into / "moved" / "f").exists()


def test_a_draft_swapped_for_a_symlink_is_not_followed(into: Path, outside: Path) -> None:
    into.mkdir()
    (into / "other").touch()

    def pieces() -> Iterator[bytes]:
        yield b"ours"
        (draft,) = into.glob(".carv2-*")
        draft.unlink()
        draft.symlink_to(outside / "secret")
        yield b"and more"

    with Folder(into) as folder:
        folder.write(b"name", pieces())
    assert (into / "name").is_symlink()  # theirs, and it was neither written through nor made a second name of
    assert (outside / "secret").stat().st_nlink == 1


# -- whole or not at all ------------------------------------------------------------------------------------


@pytest.mark.parametrize("existing", ["error", "keep", "replace"])
def test_a_file_whose_pieces_fail_is_not_there(into: Path, existing: Existing) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        assert not (into / "name").exists()
        raise KeyError("gone")

    with Folder(into, existing=existing) as folder:
        with pytest.raises(KeyError, match="gone"):
            folder.write(b"name", pieces())
        assert snapshot(into) == {}
        folder.write(b"name", [b"whole"])
    assert snapshot(into) == {"name": b"whole"}


def test_a_file_that_does_not_fit_is_not_there_and_the_error_names_it(into: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with Folder(into) as folder, pytest.raises(OSError, match="into/name") as caught:
            folder.write(b"name", [b"x" * 900, b"x" * 900])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert snapshot(into) == {}


def test_what_the_system_takes_by_halves_is_written_whole(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:3])))
    with Folder(into) as folder:
        folder.write(b"name", [b"0123456789"])
    assert (into / "name").read_bytes() == b"0123456789"


def test_a_draft_of_somebody_else_is_not_touched(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter([b"taken", b"free"])
    monkeypatch.setattr(_folder, "_draft_name", lambda: next(names))
    into.mkdir()
    (into / "taken").write_bytes(b"theirs")
    with Folder(into) as folder:
        folder.write(b"name", [b"ours"])
    assert snapshot(into) == {"taken": b"theirs", "name": b"ours"}


# -- modes and times ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "umask", "file", "directory"),
    [
        (None, 0o022, 0o644, 0o755),
        (None, 0o077, 0o600, 0o700),
        (0o640, 0o022, 0o640, 0o640),
        (0o777, 0o022, 0o755, 0o755),
        (0o107777, 0o000, 0o777, 0o777),
        (0o6755, 0o022, 0o755, 0o755),
        (0o500, 0o022, 0o500, 0o500),
        (0, 0o022, 0, 0),
    ],
)
def test_modes_are_permissions_less_the_umask(
    into: Path, mode: int | None, umask: int, file: int, directory: int
) -> None:
    old = os.umask(umask)
    try:
        with Folder(into) as folder:
            folder.enter(b"d", mode=mode)
            folder.write(b"f", [b"x"], mode=mode)
            folder.leave()
            folder.write(b"g", [b"x"], mode=mode)
    finally:
        os.umask(old)
    assert oct(stat.S_IMODE((into / "g").stat().st_mode)) == oct(file)
    assert oct(stat.S_IMODE((into / "d").stat().st_mode)) == oct(directory)


def test_times_are_kept_also_of_directories_that_were_filled_after(into: Path) -> None:
    with Folder(into) as folder:
        folder.enter(b"d", mtime=(1_000_000_000, 5))
        folder.write(b"f", [b"x"], mtime=(-5, 7))
        folder.leave()
    assert (into / "d").stat().st_mtime_ns == 1_000_000_000_000_000_005
    assert (into / "d" / "f").stat().st_mtime_ns == -5 * 1_000_000_000 + 7


@pytest.mark.parametrize("seconds", [1 << 63, -(1 << 63), 1 << 80])
def test_a_time_that_no_file_system_has_is_left_out(into: Path, seconds: int) -> None:
    with Folder(into) as folder:
        assert folder.write(b"f", [b"x"], mtime=(seconds, 0))
    assert (into / "f").read_bytes() == b"x"


# -- depth --------------------------------------------------------------------------------------------------


def descriptors(folder: Path) -> int:
    """How many are open in ``folder`` and below; 0 where the system does not tell."""
    count = 0
    for name in os.listdir("/proc/self/fd") if Path("/proc/self/fd").exists() else ():
        try:
            count += os.readlink(f"/proc/self/fd/{name}").startswith(str(folder))
        except OSError:  # listdir's own, or with a path too long to tell
            continue
    return count


def test_a_tree_deeper_than_a_path_may_be_long_takes_few_descriptors(into: Path) -> None:
    names = [b"%03d" % at + b"n" * 200 for at in range(100)]
    with Folder(into) as folder:
        for name in names:
            folder.enter(name)
        folder.write(b"deepest", [b"x"])
        assert descriptors(into) <= _folder._MAX_OPEN
        for depth in range(len(names) - 1, -1, -1):
            folder.leave()
            assert folder.depth == depth
            folder.write(b"back", [b"%d" % depth])
    at, fd = 0, os.open(into, os.O_RDONLY)
    for name in names:  # one name at a time: the path as a whole is too long for any call
        file = os.open(b"back", os.O_RDONLY, dir_fd=fd)
        assert os.read(file, 9) == b"%d" % at
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(file)
        os.close(fd)
        at, fd = at + 1, below
    assert os.listdir(fd) == ["deepest"]
    os.close(fd)
    assert descriptors(into) == 0


def test_the_top_cannot_be_left_and_a_closed_folder_not_written_to(into: Path) -> None:
    with Folder(into) as folder, pytest.raises(ValueError, match="top"):
        folder.leave()
    folder.close()
    with pytest.raises(ClosedError):
        folder.write(b"f", [b"x"])
    assert folder.path_of(b"f") == str(into / "f")

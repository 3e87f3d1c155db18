"""Walking local folders: order, what is left out, what cannot be read, and folders that are hostile."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from carv2 import _tree
from unixfs_import.inputs import write_tree

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = {_tree.ENTER: ">", _tree.LEAVE: "<", _tree.FILE: "", _tree.SYMLINK: "@", _tree.SPECIAL: "?"}
TREE = {"b": b"", "a": {"y": b"", ".z": b"", "x": {}}, "a.txt": b"", ".hidden": {"h": b""}, "to a": "a"}


def walked(path: Any, **options: Any) -> list[str]:
    items = list(_tree.walk(path, **options))
    return [KINDS[kind] + os.fsdecode(os.path.basename(name)) for kind, name, _ in items]


def test_entries_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", TREE)
    assert " ".join(walked(tmp_path / "t")) == ">t >.hidden h <.hidden >a .z >x <x y <a a.txt b @to a <t"


def test_hidden_entries_may_be_left_out_but_not_what_is_named(tmp_path: Path) -> None:
    write_tree(tmp_path / ".t", TREE)
    assert " ".join(walked(tmp_path / ".t", hidden=False)) == ">.t >a >x <x y <a a.txt b @to a <.t"


def test_symlinks_may_be_followed_or_skipped(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"a": {"x": b""}, "b": b"", "to a": "a", "to b": "b"})
    assert " ".join(walked(tmp_path / "t", symlinks="follow")) == ">t >a x <a b >to a x <to a to b <t"
    assert " ".join(walked(tmp_path / "t", symlinks="skip")) == ">t >a x <a b <t"
    for symlinks, expected in (("keep", "@to a"), ("follow", ">to a x <to a"), ("skip", ">to a x <to a")):
        assert " ".join(walked(tmp_path / "t" / "to a", symlinks=symlinks)) == expected


def test_a_symlink_that_leads_back_up_is_an_error(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"a": {"up": ".."}})
    assert " ".join(walked(tmp_path / "t")) == ">t >a @up <a <t"
    with pytest.raises(OSError, match="leads back") as error:
        walked(tmp_path / "t", symlinks="follow")
    assert error.value.filename == str(tmp_path / "t/a/up")


def test_a_symlink_to_nothing_cannot_be_followed(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"a": "nothing"})
    with pytest.raises(FileNotFoundError) as error:
        walked(tmp_path / "t", symlinks="follow")
    assert error.value.filename == str(tmp_path / "t/a")


def test_files_may_be_skipped_by_what_they_are(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"a": {"x": b""}, "b": b"", "c": b""})
    os.link(tmp_path / "t/b", tmp_path / "t/a/b too")
    inode = _tree.inode_of(tmp_path / "t/b")
    assert inode is not None
    assert " ".join(walked(tmp_path / "t", skip={inode})) == ">t >a x <a c <t"
    other_device = (inode[0] + 1, inode[1])
    assert "b" in walked(tmp_path / "t", skip={other_device})


def test_what_is_no_file_is_called_by_its_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as bound:
        os.chdir(tmp_path)  # a socket's path is short
        try:
            bound.bind("socket")
        finally:
            os.chdir(here)
        found = {
            name: folder.describe(name) for kind, name, folder in _tree.walk(tmp_path) if kind == _tree.SPECIAL
        }
    assert found == {b"pipe": "a named pipe", b"socket": "a socket"}
    (item,) = _tree.walk("/dev/null")
    assert (item.kind, item.folder.describe(item.name)) == (_tree.SPECIAL, "a character device")


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    items = _tree.walk(tmp_path)
    assert next(items).kind == _tree.ENTER
    file = next(items)
    (tmp_path / "file").unlink()
    os.mkfifo(tmp_path / "file")
    with pytest.raises(OSError, match="not a regular file any more"):
        file.folder.open(file.name)


def read_all(path: Path, *, before: Callable[[bytes], object] = lambda name: None) -> list[bytes]:
    """Open everything; ``before`` is called with each name as it comes up. Returns the names."""
    names: list[bytes] = []
    for kind, name, folder in _tree.walk(path):
        before(name)
        names.append(name)
        if kind == _tree.FILE:
            folder.open(name).close()
        elif kind == _tree.SYMLINK:
            folder.read_link(name)
    return names


@pytest.mark.parametrize(
    ("becomes", "why"), [("file", "symbolic links"), ("folder", "Not a directory|symbolic links")]
)
def test_what_becomes_a_symlink_meanwhile_is_not_followed(tmp_path: Path, becomes: str, why: str) -> None:
    write_tree(tmp_path / "t", {"a": b"first", "file": b"mine", "folder": {"mine": b""}})
    write_tree(tmp_path / "other", {"file": b"secret", "folder": {"secret": b""}})

    def swap(name: bytes) -> None:
        if name == b"a":
            (tmp_path / "t" / becomes).rename(tmp_path / "t" / "gone")
            (tmp_path / "t" / becomes).symlink_to(tmp_path / "other" / becomes)

    with pytest.raises(OSError, match=why) as error:
        read_all(tmp_path / "t", before=swap)
    assert error.value.filename == str(tmp_path / "t" / becomes)


@pytest.mark.parametrize("name", ["file", "folder", "link"])
def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: Any, name: str) -> None:
    write_tree(tmp_path / "t", {"file": b"", "folder": {}, "link": "x"})

    def refusing(
        real: Callable[..., Any],
    ) -> Callable[..., Any]:  # root may read everything, so modes would not do
        def call(path: object, *args: Any, **options: Any) -> Any:
            if path == os.fsencode(name):
                raise PermissionError(13, "Permission denied", path)
            return real(path, *args, **options)

        return call

    monkeypatch.setattr(os, "open", refusing(os.open))
    monkeypatch.setattr(os, "readlink", refusing(os.readlink))
    with pytest.raises(PermissionError) as error:
        read_all(tmp_path / "t")
    assert error.value.filename == str(tmp_path / "t" / name)


def test_what_goes_away_meanwhile_is_named(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"a": {"file": b""}})

    def unlink(name: bytes) -> None:
        if name == b"file":
            (tmp_path / "t/a/file").unlink()

    with pytest.raises(FileNotFoundError) as error:
        read_all(tmp_path / "t", before=unlink)
    assert error.value.filename == str(tmp_path / "t/a/file")


@pytest.mark.parametrize("reads", ["read", "read_into"])
def test_what_fails_while_it_is_read_is_named(tmp_path: Path, monkeypatch: Any, reads: str) -> None:
    (tmp_path / "file").write_bytes(b"fish")

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "read", fail)
    monkeypatch.setattr(os, "readv", fail)
    with _tree.open_file(tmp_path / "file") as file, pytest.raises(OSError, match="Input/output") as error:
        getattr(file, reads)(4 if reads == "read" else memoryview(bytearray(4)))
    assert error.value.filename == str(tmp_path / "file")


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        walked(tmp_path / "none")
    assert error.value.filename == str(tmp_path / "none")


def deep_folder(top: Path, names: list[str]) -> None:
    """Folders in folders, deeper than a path can say."""
    fd = os.open(top, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    with os.fdopen(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=fd), "wb") as file:
        file.write(b"deep")
    os.symlink("target", "link", dir_fd=fd)
    os.close(fd)


def remove_deep_folder(top: Path, names: list[str]) -> None:
    """What shutil.rmtree of older Pythons cannot do."""
    fd = os.open(top, os.O_RDONLY)
    for name in names:
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    for name in ("file", "link"):
        os.unlink(name, dir_fd=fd)
    for name in reversed(names):
        above = os.open("..", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        os.rmdir(name, dir_fd=above)
        fd = above
    os.close(fd)


def opened_below(folder: Path) -> list[str]:
    """The paths of this process's open files below ``folder``, where /proc tells; a stand-in for long ones."""
    opened = []
    for descriptor in Path("/proc/self/fd").glob("*"):
        try:
            opened.append(os.readlink(descriptor))
        except OSError as error:  # the one that lists the others is gone by now
            if error.errno == errno.ENAMETOOLONG:
                opened.append(f"{folder}/deep")
    return [path for path in opened if path.startswith(f"{folder}/")]


@pytest.mark.parametrize(("depth", "size"), [(700, 3), (120, 200), (40, 200)])
def test_a_folder_may_be_deeper_than_a_path_can_say(tmp_path: Path, depth: int, size: int) -> None:
    names = [f"{number:0{size}}" for number in range(depth)]
    deep_folder(tmp_path, names)
    try:
        open_most = 0
        seen = []
        for kind, name, folder in _tree.walk(tmp_path):
            if kind == _tree.FILE:
                open_most = len(opened_below(tmp_path))
                with folder.open(name) as file:
                    seen.append(file.read(100))
                    assert file.path.endswith("/".join([*names[-3:], "file"]))
            elif kind == _tree.SYMLINK:
                seen.append(folder.read_link(name))
        assert seen == [b"deep", b"target"]
        assert open_most < 90
        assert opened_below(tmp_path) == []
    finally:
        remove_deep_folder(tmp_path, names)


def test_a_walk_that_is_left_closes_what_it_opened(tmp_path: Path) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc here to count descriptors by")
    write_tree(tmp_path / "t", {"a": {"b": {"c": b""}}})
    before = len(os.listdir("/proc/self/fd"))
    items = _tree.walk(tmp_path / "t")
    while next(items).name != b"c":
        pass
    assert len(os.listdir("/proc/self/fd")) == before + 3
    items.close()  # type: ignore[attr-defined]
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_is_read_in_pieces_of_any_size(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(100)))
    with _tree.open_file(tmp_path / "file") as file:
        assert file.size == 100
        assert file.read(10) == bytes(range(10))
        buffer = bytearray(50)
        assert file.read_into(memoryview(buffer)) == 50
        assert buffer == bytes(range(10, 60))
        assert file.read_into(memoryview(buffer)) == 40
        assert file.read(1) == b""
        assert not file.has_changed()
    file.close()


def test_a_change_shows(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for change in ("grow", "shrink", "touch", "leave"):
        path.write_bytes(bytes(100))
        os.utime(path, (1, 1))
        with _tree.open_file(path) as file:
            if change == "grow":
                with path.open("ab") as more:
                    more.write(b"more")
            elif change == "shrink":
                os.truncate(path, 50)
            elif change == "touch":
                os.utime(path, (2, 2))
            file.read_into(memoryview(bytearray(1000)))
            assert file.has_changed() == (change != "leave"), change


def test_a_change_shows_by_what_was_read_where_times_do_not_tell(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    os.utime(path, (1, 1))
    with _tree.open_file(path) as file:
        os.truncate(path, 50)
        assert len(file.read(1000)) == 50
        os.truncate(path, 100)
        os.utime(path, (1, 1))
        assert file.has_changed()


def test_files_of_no_known_size_are_read_to_their_end() -> None:
    path = Path("/proc/self/status")
    if not path.exists():
        pytest.skip("no /proc here")
    with _tree.open_file(path) as file:
        assert file.size == 0
        assert file.read(100_000).startswith(b"Name:")

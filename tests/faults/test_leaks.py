"""Whichever call fails, nothing stays open: each deed that touches files, each of its calls, one at a time."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2._atomic import make_folder, publish, replacing, writing
from carv2._downloads import DownloadFolder, remove_abandoned_drafts
from carv2._folder import Folder
from carv2._locks import create_locked, is_locked
from carv2._originals import Originals
from carv2._private import create_private, read_private
from carv2._sqlite import open_database, open_read_only
from carv2._storefile import StoreFile
from carv2._tree import FILE, open_file, walk
from carv2.blockstore import ReadOnlyBlockstore
from carv2.dagstore._fetching import Fetching, Slots
from carv2.dagstore._quota import Quota
from carv2.dagstore.indices import IndexFolder
from carv2.dagstore.mounts import BytesMount
from carv2.dagstore.transients import Transients
from carv2.errors import CarError
from faults.seam import CHANGES, READS, Fault, Seam
from faults.trying import _drafts, _left_open, _open_files
from helpers import archives

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")

ARCHIVE = archives.v2(archives.v1([archives.FISH[0]], [archives.FISH, archives.LOBSTER]))
VERSIONS = ["CREATE TABLE fish (name TEXT)"]


def prepare(folder: Path) -> None:
    (folder / "x").write_bytes(b"old")
    (folder / "x").chmod(0o600)
    (folder / "x.car").write_bytes(ARCHIVE)
    (folder / "tree" / "inner").mkdir(parents=True)
    (folder / "tree" / "inner" / "file").write_bytes(b"file")
    (folder / "tree" / "link").symlink_to("inner/file")
    open_database(folder / "x.db", VERSIONS).close()
    with Transients(folder / "copies") as transients:
        transients.fetch("k", BytesMount(ARCHIVE))
    abandoned = folder / ".carv2-0123456789abcdef.part"
    abandoned.write_bytes(b"x")
    os.utime(abandoned, (0, 0))


def replace(folder: Path) -> None:
    with replacing(folder / "x") as file:
        file.write(b"new")


def write_anew(folder: Path) -> None:
    with writing(folder / "y") as file:
        file.write(b"new")


def give_a_name(folder: Path) -> None:
    (folder / "z.draft").write_bytes(b"new")
    try:
        publish(str(folder / "z.draft"), folder / "z")
    finally:
        with contextlib.suppress(OSError):
            Path.unlink(folder / "z.draft")


def hold_a_copy(folder: Path) -> None:
    held = DownloadFolder(folder / "copies").hold(os.listdir(folder / "copies")[0].split(".copy")[0])
    if held is not None:
        held.close()


def pin_a_copy(folder: Path) -> None:
    with Transients(folder / "copies") as transients:
        transients.fetch("k", BytesMount(ARCHIVE), timeout=60)
        transients.unpin("k")


def make_a_copy(folder: Path) -> None:
    with Transients(folder / "copies") as transients:
        transients.fetch("another", BytesMount(ARCHIVE), timeout=60)
        transients.unpin("another")


def find_a_copy_at_hand(folder: Path) -> None:
    """Another process was faster."""
    copies = DownloadFolder(folder / "copies")
    (download,) = copies.downloads()
    job = Fetching(
        copies,
        Quota(copies, None),
        Slots(None),
        name=download.name,
        key="k",
        mount=BytesMount(ARCHIVE),
        size=None,
        tag="",
    )
    job.run().close()


def remove_a_copy(folder: Path) -> None:
    with Transients(folder / "copies") as transients:
        transients.verify("k")
        transients.drop("k")


def read_a_tree(folder: Path) -> None:
    for kind, name, where in walk(folder / "tree", symlinks="follow"):
        if kind == FILE:
            with where.open(name, follow=True) as file:
                file.read(10)
    open_file(folder / "x").close()


def write_a_tree(folder: Path) -> None:
    with Folder(folder / "out", existing="replace") as out:
        out.enter(b"inner", mode=0o755, mtime=(1, 0))
        out.write(b"file", [b"new"], mtime=(1, 0))
        out.symlink(b"link", b"file")
        out.leave()


def lock(folder: Path) -> None:
    create_locked(folder / "locked").close()
    assert not is_locked(folder / "locked")


def store(folder: Path) -> None:
    StoreFile.create(folder / "new.car", b"front").close()
    file = StoreFile.resume(folder / "x.car")
    try:
        draft = file.copy_beside(folder / "x.car")
        Path.unlink(Path(draft))
    finally:
        file.close()


def keep_secrets(folder: Path) -> None:
    create_private(str(folder / "secret"), b"secret")
    read_private(str(folder / "x"))


def read_originals(folder: Path) -> None:
    with contextlib.closing(Originals([folder / "tree"])) as originals:
        originals.open(str(folder / "tree" / "inner" / "file")).read_at(0, 4)


def open_databases(folder: Path) -> None:
    open_database(folder / "x.db", VERSIONS).close()
    open_read_only(folder / "x.db", VERSIONS).close()


def keep_an_index(folder: Path) -> None:
    indices = IndexFolder(folder / "indices")
    with carv2.open(folder / "x.car") as car:
        facts = indices.write("k", car.build_index().to_index().chunks())
    indices.verify("k", facts)
    indices.remove_drafts()


def read(folder: Path) -> None:
    for is_mapped in (False, True):
        with carv2.open(folder / "x.car", memory_map=is_mapped) as car:
            assert sum(1 for _ in car) == 2
        with ReadOnlyBlockstore(folder / "x.car", rebuild_index=True) as blocks:
            assert blocks[archives.FISH[0]] == archives.FISH[1]


DEEDS: dict[str, Callable[[Path], Any]] = {
    "replace": replace,
    "write anew": write_anew,
    "give a name": give_a_name,
    "make folders": lambda folder: make_folder(folder / "a" / "b"),
    "hold a copy": hold_a_copy,
    "pin a copy": pin_a_copy,
    "make a copy": make_a_copy,
    "find a copy at hand": find_a_copy_at_hand,
    "remove a copy": remove_a_copy,
    "sweep": lambda folder: remove_abandoned_drafts(str(folder)),
    "read a tree": read_a_tree,
    "write a tree": write_a_tree,
    "lock": lock,
    "store": store,
    "keep secrets": keep_secrets,
    "read originals": read_originals,
    "open databases": open_databases,
    "keep an index": keep_an_index,
    "read": read,
}


@pytest.mark.parametrize("name", DEEDS)
def test_a_call_that_fails_leaves_nothing_open(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in itertools.count(1):
        folder = tmp_path / str(number)
        folder.mkdir()
        prepare(folder)
        fault, before = Fault(number, errno.EIO, READS | CHANGES), _open_files()
        with Seam(folder, fault=fault).installed(monkeypatch) as seam, contextlib.suppress(OSError, CarError):
            DEEDS[name](folder)
        left = _left_open(before)
        assert not left, f"{fault.last}, call {number}: {left}"
        if fault.last != "unlink":
            drafts = [path for path in _drafts(folder) if "0123456789abcdef" not in path.name]
            assert not drafts, f"{fault.last}, call {number}: {drafts}"
        if number > len(seam.calls):
            break
    assert number > 1

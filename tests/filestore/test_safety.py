"""An archive of a stranger's reads what the caller allowed, and nothing else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carv2 import CID
from carv2._originals import Originals
from carv2._source import BytesSource
from carv2.errors import CarError, ClosedError, CorruptReferenceError
from carv2.filestore import FileReference, FileStore, ReferenceStatus, Status, check_references
from filestore.reading import Leaf, archive_of, leaves_in, record_for, record_of
from helpers import archives

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = b"secret bytes"
SECRET_LEAF = archives.cid_v1(SECRET)
NOT_ALLOWED = "not allowed: it is in none of the folders that may be read"


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    """A folder that may be read, beside a secret that may not."""
    folder = tmp_path / "allowed"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(SECRET)
    return folder


def status_of(record: bytes, *allow: Path, root: Path | str = "/") -> ReferenceStatus:
    """What becomes of a record for the secret; the same way by all ways of reading."""
    with FileStore(record_for(SECRET_LEAF, record), allow=allow, root=root) as store:
        status = store.status_of(SECRET_LEAF)
        for read in (store.__getitem__, lambda cid: list(store.get_many([cid, cid]))):
            if status.status is Status.OK:
                read(SECRET_LEAF)
            else:
                with pytest.raises(CarError):
                    read(SECRET_LEAF)
        assert list(check_references(store)) == [status]
        quick = store.status_of(SECRET_LEAF, hashes=False)
        if status.status is not Status.FILE_CHANGED:
            assert quick == status
    return status


@pytest.mark.parametrize(
    "name", ["secret", "allowed/../secret", "allowed/./../../{here}/secret", "allowed2/x", "no"]
)
def test_what_is_outside_is_refused_whether_it_exists_or_not(tmp_path: Path, allowed: Path, name: str) -> None:
    (tmp_path / "allowed2").mkdir()
    (tmp_path / "allowed2" / "x").write_bytes(SECRET)
    path = str(tmp_path / name.format(here=tmp_path.name))
    status = status_of(record_of(path.encode().lstrip(b"/"), 0, len(SECRET)), allowed)
    assert (status.status, status.detail) == (Status.FILE_ERROR, NOT_ALLOWED)


def test_nothing_is_allowed_unless_it_is_named(tmp_path: Path, allowed: Path) -> None:
    assert status_of(record_of(tmp_path / "secret", 0, len(SECRET))).detail == NOT_ALLOWED
    assert status_of(record_of(tmp_path / "secret", 0, len(SECRET)), allowed / "x").detail == NOT_ALLOWED
    assert status_of(record_of(tmp_path / "secret", 0, len(SECRET)), tmp_path / "secret").status is Status.OK
    assert status_of(record_of(tmp_path / "secret", 0, len(SECRET)), allowed, tmp_path).status is Status.OK


@pytest.mark.parametrize("empty", ["", b""])
def test_an_empty_path_cannot_be_allowed(tmp_path: Path, empty: str | bytes) -> None:
    """It would be the present folder, and comes of variables that were never set."""
    with pytest.raises(ValueError, match="empty path"):
        FileStore(record_for(SECRET_LEAF, b""), allow=[tmp_path, empty])


def test_a_file_that_is_allowed_allows_nothing_beside_it(tmp_path: Path, allowed: Path) -> None:
    (tmp_path / "secret2").write_bytes(SECRET)
    (allowed / "x").write_bytes(SECRET)
    record = record_of(tmp_path / "secret2", 0, len(SECRET))
    assert status_of(record, tmp_path / "secret", allowed / "x").detail == NOT_ALLOWED


def test_symlinks_lead_only_to_what_is_allowed(tmp_path: Path, allowed: Path) -> None:
    (allowed / "file").symlink_to(tmp_path / "secret")
    (allowed / "up").symlink_to("..")
    (allowed / "far").symlink_to("/")
    (allowed / "chain").symlink_to("up")
    for name in ("file", "up/secret", "chain/secret", f"far{tmp_path}/secret"):
        record = record_of(os.fsencode(allowed / name).lstrip(b"/"), 0, len(SECRET))
        assert status_of(record, allowed).detail == NOT_ALLOWED
        assert status_of(record, tmp_path / "secret").status is Status.OK


def test_symlinks_inside_and_in_front_of_what_is_allowed_are_followed(tmp_path: Path, allowed: Path) -> None:
    (allowed / "file").write_bytes(SECRET)
    (allowed / "link").symlink_to("file")
    (tmp_path / "way").symlink_to("allowed")
    for path in (allowed / "link", tmp_path / "way" / "file", tmp_path / "way" / "link"):
        for allow in (allowed, tmp_path / "way", allowed / "file", allowed / "link"):
            assert status_of(record_of(path, 0, len(SECRET)), allow).status is Status.OK


def test_what_an_allowed_symlink_leads_to_later_does_not_matter(tmp_path: Path, allowed: Path) -> None:
    (allowed / "file").write_bytes(b"other")
    (tmp_path / "way").symlink_to("allowed")
    with FileStore(
        record_for(SECRET_LEAF, record_of(tmp_path / "secret", 0, 12)), allow=[tmp_path / "way"]
    ) as store:
        (tmp_path / "way").unlink()
        (tmp_path / "way").symlink_to(".")
        assert store.status_of(SECRET_LEAF).detail == NOT_ALLOWED


def test_a_symlink_loop_is_an_error(allowed: Path) -> None:
    (allowed / "loop").symlink_to("loop")
    for at in range(1100):  # more levels than Python has
        (allowed / f"{at}").symlink_to(f"{at + 1}")
    for name in ("loop", "0"):
        status = status_of(record_of(allowed / name, 0, len(SECRET)), allowed)
        assert status.status in {Status.FILE_ERROR, Status.FILE_NOT_FOUND}


def test_only_regular_files_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    os.mkfifo("fifo")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for name, detail in (
            ("fifo", "a named pipe, not a file"),
            ("socket", "a socket, not a file"),
            ("folder", "a folder, not a file"),
            ("", "a folder, not a file"),
        ):
            (tmp_path / "link").unlink(missing_ok=True)
            (tmp_path / "link").symlink_to(name or ".")
            for path in (tmp_path / name, tmp_path / "link"):
                status = status_of(record_of(path, 0, len(SECRET)), tmp_path)
                assert (status.status, status.detail) == (Status.FILE_ERROR, detail)
                assert status_of(record_of(path, 0, len(SECRET)), path).detail == detail


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero"])
def test_devices_are_not_opened(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    real = os.open

    def noting(path: object, *rest: object, **more: object) -> int:
        opened.append(path)
        return real(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", noting)
    with FileStore(record_for(SECRET_LEAF, record_of(device, 0, 12)), allow=[device, "/dev"]) as store:
        status = store.status_of(SECRET_LEAF)
    assert (status.status, status.detail) == (Status.FILE_ERROR, "a character device, not a file")
    assert os.path.basename(device).encode() not in opened


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        (b"a\0b", "a path with a NUL byte in it"),
        (b"x" * 4096, "a path of "),
        (b"a/" * 2048, "a path of "),
        (b"x" * 300, "File name too long"),
    ],
)
def test_paths_that_cannot_be_are_errors(allowed: Path, path: bytes, detail: str) -> None:
    status = status_of(record_of(path, 0, len(SECRET)), allowed, root=allowed)
    assert status.status is Status.FILE_ERROR
    assert status.detail.startswith(detail)


def test_a_path_longer_than_any_is_no_record(allowed: Path) -> None:
    leaf = SECRET_LEAF
    for path, text in (
        (b"a/" * 2049, "a path of 4098 bytes, limit 4096"),
        (b"a/" * 100_000, " bytes, limit 8192"),
    ):
        archive = record_for(leaf, record_of(path, 0, 12))
        with FileStore(archive, allow=[allowed]) as store:
            status = store.status_of(leaf)
            assert (status.status, text in status.detail) == (Status.OTHER_ERROR, True)
            with pytest.raises(CorruptReferenceError, match=text) as caught:
                _ = store[leaf]
            start = archive.index(record_of(path, 0, 12))
            assert caught.value.position == start + ("path" in text)
            assert [each.status for each in check_references(store)] == [Status.OTHER_ERROR]
    long = record_of(b"http://127.0.0.1:1/" + b"x" * 8000, 0, 12)
    assert status_of(long, allowed).detail.startswith("not allowed: it is of none of the servers")


class NotingSource(BytesSource):
    """Notes how much is read."""

    count = 0

    def read_at(self, position: int, size: int) -> bytes:
        data = super().read_at(position, size)
        self.count += len(data)
        return data


def test_what_is_too_large_for_a_record_is_not_read(allowed: Path) -> None:
    source = NotingSource(record_for(SECRET_LEAF, record_of(b"a" * 3_000_000, 0, 12)))
    with FileStore(source, allow=[allowed]) as store:
        before = source.count
        for _ in range(10):
            assert store.status_of(SECRET_LEAF).status is Status.OTHER_ERROR
        assert source.count - before < 3_000_000


def test_long_paths_are_cut_in_messages(allowed: Path) -> None:
    archive = record_for(SECRET_LEAF, record_of(b"first/" + b"x" * 4000 + b"/last", 0, 12))
    with FileStore(archive, allow=[allowed]) as store, pytest.raises(CorruptReferenceError) as caught:
        _ = store[SECRET_LEAF]
    text = str(caught.value)
    assert len(text) < 500
    assert "first/x" in text
    assert "/last" in text


@pytest.mark.parametrize("path", [b"", b"/", b"..", b"../..", b"./."])
def test_paths_without_a_file_in_them_are_the_root(allowed: Path, path: bytes) -> None:
    assert status_of(record_of(path, 0, 12), allowed, root=allowed).detail == "a folder, not a file"
    assert status_of(record_of(path, 0, 12), allowed).detail == NOT_ALLOWED


def test_a_file_is_no_folder(allowed: Path) -> None:
    (allowed / "file").write_bytes(SECRET)
    assert status_of(record_of(allowed / "file" / "x", 0, 12), allowed).status is Status.FILE_ERROR
    assert status_of(record_of(allowed / "file" / "x", 0, 12), allowed / "file").status is Status.FILE_ERROR


def test_a_path_is_bytes(allowed: Path) -> None:
    name = os.fsencode(allowed) + b"/\xff\xfe name"
    with open(name, "wb") as file:
        file.write(SECRET)
    assert status_of(record_of(name.lstrip(b"/"), 0, len(SECRET)), allowed).status is Status.OK


@pytest.mark.parametrize("offset", [(1 << 62) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_offsets_that_no_file_has_are_behind_its_end(tmp_path: Path, offset: int) -> None:
    for size in (0, 1, 12):
        status = status_of(record_of(tmp_path / "file", offset, size), tmp_path)
        assert status.status is Status.FILE_NOT_FOUND
    (tmp_path / "file").write_bytes(SECRET)
    status = status_of(record_of(tmp_path / "file", offset, 12), tmp_path)
    assert (status.status, status.detail) == (
        Status.FILE_CHANGED,
        f"the file has 12 bytes, the reference needs {offset + 12}",
    )


def test_what_is_swapped_while_it_is_opened_leads_nowhere(
    tmp_path: Path, allowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time a component is about to be opened, it becomes a symlink to what is not allowed."""
    target = allowed / "folder" / "file"
    real_open, real_stat = os.open, os.stat
    swaps: dict[bytes, Callable[[], None]] = {
        b"folder": lambda: _swap(allowed / "folder", tmp_path / "outside"),
        b"file": lambda: _swap(target, tmp_path / "secret"),
    }
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(SECRET)
    for moment, name in (("open", b"folder"), ("open", b"file"), ("stat", b"file")):
        _restore(target)

        def swapping(call: Callable[..., object], now: str) -> Callable[..., object]:
            def called(path: object, *rest: object, **more: object) -> object:
                if (now, path) == (moment, name):  # noqa: B023
                    swaps[name]()  # noqa: B023
                return call(path, *rest, **more)

            return called

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", swapping(real_open, "open"))
            patch.setattr(os, "stat", swapping(real_stat, "stat"))
            with pytest.raises(OSError, match=r"symlink|symbolic link|Not a directory"):
                Originals([allowed]).open(str(target))


def _swap(path: Path, target: Path) -> None:
    path.rename(path.with_name(path.name + " moved"))
    path.symlink_to(target)


def _restore(target: Path) -> None:
    for path in (target.parent, target):
        if path.is_symlink():
            path.unlink()
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(b"not secret")


def test_a_file_that_becomes_a_pipe_while_it_is_opened_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(SECRET)
    real = os.open

    def swapping(name: object, *rest: object, **more: object) -> int:
        if name == b"file":
            path.unlink()
            os.mkfifo(path)
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", swapping)
    with pytest.raises(OSError, match="a named pipe, not a file"):
        Originals([tmp_path]).open(str(path))


def test_someone_who_swaps_all_the_time_gains_nothing(tmp_path: Path, allowed: Path) -> None:
    inside, link, spare = allowed / "file", allowed / "link", allowed / "spare"
    inside.write_bytes(b"not secret!!")
    record = record_of(inside, 0, len(SECRET))
    over = threading.Event()
    swaps: list[int] = []

    def swap() -> None:
        while not over.is_set():
            swaps.append(1)
            spare.write_bytes(b"not secret!!")
            spare.replace(inside)
            link.symlink_to(tmp_path / "secret")
            link.replace(inside)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        with FileStore(record_for(SECRET_LEAF, record), allow=[allowed]) as store:
            found = {store.status_of(SECRET_LEAF).status}
            while len(swaps) < 300:
                found.add(store.status_of(SECRET_LEAF).status)
    finally:
        over.set()
        thread.join()
    assert found <= {Status.FILE_CHANGED, Status.FILE_ERROR, Status.FILE_NOT_FOUND}


def test_the_originals_that_are_open_are_few_and_none_is_left(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    if before is None:
        pytest.skip("this system does not list descriptors")
    originals = Originals([tmp_path], keep=5)
    for at in range(20):
        (tmp_path / f"{at}").write_bytes(b"%d" % at)
        assert originals.open(str(tmp_path / f"{at}")).read_at(0, 9) == b"%d" % at
        assert len(os.listdir("/proc/self/fd")) <= before + 5 + 1  # and one for FileSource's closing
    held = originals.open(str(tmp_path / "19"))
    originals.close()
    originals.close()
    with pytest.raises(ClosedError):
        held.read_at(0, 1)
    with pytest.raises(ClosedError):
        originals.open(str(tmp_path / "19"))
    del held
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_a_folder_that_may_be_entered_but_not_listed_is_enough(tmp_path: Path, allowed: Path) -> None:
    inner = allowed / "inner"
    inner.mkdir()
    (inner / "file").write_bytes(SECRET)
    inner.chmod(0o100)
    try:
        assert status_of(record_of(inner / "file", 0, 12), allowed).status is Status.OK
    finally:
        inner.chmod(0o700)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=60),
        st.builds(
            lambda parts, offset, size: record_of(b"/".join(parts), offset, size),
            st.lists(st.sampled_from([b"..", b".", b"", b"secret", b"allowed", b"up", b"pipe", b"\0", b"\xff"])),
            st.sampled_from([0, 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]),
            st.sampled_from([0, 12, 8 << 20, (8 << 20) + 1, 1 << 63, (1 << 64) - 1]),
        ),
    )
)
def test_no_record_whatever_reads_the_secret(tmp_path: Path, record: bytes) -> None:
    folder = tmp_path / "allowed"
    if not folder.exists():
        folder.mkdir()
        (folder / "up").symlink_to("..")
        os.mkfifo(folder / "pipe")
        (tmp_path / "secret").write_bytes(SECRET)
    with FileStore(record_for(SECRET_LEAF, record), allow=[folder], root=tmp_path) as store:
        assert store.status_of(SECRET_LEAF).status is not Status.OK
        with pytest.raises(CarError):
            _ = store[SECRET_LEAF]
        assert [each.status for each in check_references(store, hashes=False)] != [Status.KEY_NOT_FOUND]


def test_threads_share_a_store_whose_originals_come_and_go(tmp_path: Path) -> None:
    leaves: list[Leaf] = []
    for at in range(80):  # more than are kept open
        path = tmp_path / f"{at}"
        path.write_bytes(b"%03d" % at * 20)
        leaves += leaves_in(path, 20)
    faults: list[BaseException] = []

    def read(shift: int) -> None:
        try:
            order = leaves[shift:] + leaves[:shift]
            assert [store[leaf.cid] for leaf in order] == [leaf.data for leaf in order]
            assert [block.data for block in store.get_many(leaf.cid for leaf in order)] == [x.data for x in order]
        except BaseException as error:  # noqa: BLE001
            faults.append(error)

    with FileStore(archive_of(leaves), allow=[tmp_path]) as store:
        threads = [threading.Thread(target=read, args=(at * 29,)) for at in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not faults


def test_closing_while_others_read_ends_with_closed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 40)
    leaves = leaves_in(tmp_path / "file", 100)
    store = FileStore(archive_of(leaves), allow=[tmp_path])
    ends: list[BaseException] = []

    def read() -> None:
        try:
            while True:
                assert [store[leaf.cid] for leaf in leaves] == [leaf.data for leaf in leaves]
        except BaseException as error:  # noqa: BLE001
            ends.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        _ = store[CID(leaves[0].cid)]
    store.close()
    for thread in threads:
        thread.join()
    assert [type(end) for end in ends] == [ClosedError] * 4


def test_the_text_of_a_refusal_names_no_more_than_the_record(tmp_path: Path, allowed: Path) -> None:
    (allowed / "link").symlink_to(tmp_path / "secret")
    reference = FileReference(str(allowed / "link")[1:], 0, 12)
    record = record_of(allowed / "link", 0, 12)
    with FileStore(record_for(SECRET_LEAF, record), allow=[allowed]) as store, pytest.raises(CarError) as caught:
        _ = store[SECRET_LEAF]
    assert str(caught.value).startswith(f"{CID(SECRET_LEAF)} is {reference}: {NOT_ALLOWED} (at byte ")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


FEW_DESCRIPTORS = """
import os, resource, sys
from carv2._originals import Originals

allowed = sys.argv[1]
paths = [os.path.join(allowed, name) for name in sorted(os.listdir(allowed))]
originals = Originals([allowed])
in_use = originals.open(paths[0])
free = os.dup(0)
os.close(free)
resource.setrlimit(resource.RLIMIT_NOFILE, (free + 8, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
for path in paths * 2:
    assert originals.open(path).read_at(0, 6) == b"secret"
assert in_use.read_at(0, 6) == b"secret"
held = []
try:
    held.extend(originals.open(path) for path in paths)
except OSError as error:
    print(len(held), error.strerror)
"""


def test_originals_that_are_only_kept_open_make_room_for_others(tmp_path: Path) -> None:
    """A process may have fewer descriptors left than the originals that are kept open."""
    for number in range(20):
        (tmp_path / str(number)).write_bytes(b"secret")
    done = subprocess.run(
        [sys.executable, "-c", FEW_DESCRIPTORS, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    count, _, why = done.stdout.strip().partition(" ")
    assert why == "Too many open files"
    assert 0 < int(count) < 9

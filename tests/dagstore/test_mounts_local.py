"""Files that are none, pieces whose resolvers misbehave, and what mounts leave open."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

import pytest

from carv2._source import BytesSource, FileSource, open_source
from carv2.blockstore import ReadOnlyBlockstore
from carv2.cid import CID
from carv2.dagstore.mounts import BytesMount, FileMount, Mount, MountStat, PieceMount
from carv2.errors import ChangedError, ClosedError, MountChangedError, MountError
from carv2.testing.blockstores import BLOCKS
from carv2.testing.mounts import padded_piece

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DATA = bytes(range(256)) * 40
PIECE = CID.of_data(b"piece")


def open_below(folder: Path) -> list[str]:
    """What this process has open there; other threads may close what is theirs meanwhile."""
    found: list[str] = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return [path for path in found if path.startswith(str(folder))]


# -- files ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["folder", "pipe", "socket", "device", "link to a pipe"])
def no_file(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "x.car")
    kind: str = request.param
    if kind == "folder":
        os.mkdir(path)
    elif kind == "device":
        path = os.devnull
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            yield path
            return
    else:
        os.mkfifo(path)
        if kind != "pipe":
            os.symlink(path, path + ".link")
            path += ".link"
    yield path


def test_what_is_no_regular_file_is_refused_at_once(no_file: str, tmp_path: Path) -> None:
    mount = FileMount(no_file)
    for use in (mount.stat, mount.open, lambda: list(mount.chunks())):
        with pytest.raises(MountError) as caught:
            use()
        assert caught.value.url == mount.url
    assert open_below(tmp_path) == []


@pytest.mark.parametrize("path", ["gone.car", "gone/x.car", "file/x.car"])
def test_a_file_that_is_not_there_does_not_exist(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_bytes(DATA)
    mount = FileMount(tmp_path / path)
    assert mount.stat() == MountStat(exists=False)
    with pytest.raises(MountError, match="there is nothing"):
        mount.open()
    with pytest.raises(MountError, match="there is nothing"):
        list(mount.chunks())


def test_what_cannot_be_found_out_is_an_error_and_not_an_absence(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path / "loop", tmp_path / ("x" * 300)):
        with pytest.raises(MountError) as caught:
            FileMount(path).stat()
        assert isinstance(caught.value.__cause__, OSError)


def test_the_tag_is_of_the_file_that_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(DATA)
    status, tags = path.stat(), [FileMount(path).stat().tag]
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    tags.append(FileMount(path).stat().tag)
    (tmp_path / "other").write_bytes(DATA)
    os.replace(tmp_path / "other", path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    tags.append(FileMount(path).stat().tag)
    path.write_bytes(DATA[1:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    tags.append(FileMount(path).stat().tag)
    assert len(set(tags)) == 4
    (tmp_path / "link").symlink_to(path)
    assert FileMount(tmp_path / "link").stat().tag == tags[-1]


@pytest.mark.parametrize("change", ["shorter", "longer", "the same size"])
def test_a_file_that_is_written_to_while_it_is_read_front_to_back(tmp_path: Path, change: str) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(bytes(3 << 20))
    os.utime(path, ns=(1, 1))
    chunks = FileMount(path).chunks()
    next(chunks)
    size = {"shorter": 2 << 20, "longer": 4 << 20}.get(change, 3 << 20)
    path.write_bytes(b"\1" * size)
    with pytest.raises(MountChangedError) as caught:
        list(chunks)
    assert isinstance(caught.value, ChangedError)
    assert caught.value.url == FileMount(path).url


def test_a_file_that_is_replaced_while_it_is_open_stays_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(DATA)
    with closing(FileMount(path).open()) as source:
        (tmp_path / "new").write_bytes(DATA[::-1])
        os.replace(tmp_path / "new", path)
        assert source.read_at(0, len(DATA)) == DATA


def test_a_store_on_a_mount_knows_when_its_file_changed(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(padded_piece())
    store = ReadOnlyBlockstore(FileMount(path).open(), null_padding=True)
    assert [store[cid] for cid, _ in BLOCKS] == [data for _, data in BLOCKS]
    path.write_bytes(padded_piece()[:100])
    with pytest.raises(ChangedError):
        _ = store[BLOCKS[3][0]]
    store.close()


@pytest.mark.parametrize("make", [FileMount, lambda path: PieceMount(PIECE, Resolver(lambda: path.open("rb")))])
def test_nothing_stays_open(tmp_path: Path, make: Callable[[Path], Mount]) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(bytes(3 << 20))
    mount = make(path)
    mount.stat()
    source = mount.open()
    assert open_below(tmp_path)
    assert source.read_at(5, 5) == bytes(5)
    source.close()
    chunks = cast("Any", mount.chunks())
    next(chunks)
    chunks.close()
    list(mount.chunks())
    del source
    assert open_below(tmp_path) == []


def test_a_mount_asks_nobody_by_being_made(tmp_path: Path) -> None:
    resolver = Resolver(lambda: b"")
    mounts = [FileMount(tmp_path / "gone"), PieceMount(PIECE, resolver)]
    assert all(mount.url and mount.chunks() for mount in mounts)  # nothing happens before the first chunk
    assert resolver.asked == 0


def test_an_open_file_is_a_file_to_the_blockstore(tmp_path: Path) -> None:
    (tmp_path / "x.car").write_bytes(DATA)
    with closing(FileMount(tmp_path / "x.car").open()) as source:
        assert isinstance(source, FileSource)  # reads by pread, and tells when it changed
        assert source.read_at(3, 5) == DATA[3:8]


def test_reading_of_bytes_begins_inside_them() -> None:
    with pytest.raises(MountError, match="no byte 5"):
        list(BytesMount(b"fish").chunks(5))


# -- pieces ---------------------------------------------------------------------------------------------------


class Resolver:
    """Opens what it is told."""

    def __init__(self, opened: Callable[[], Any], *, size: int | None = None, random_access: bool = True) -> None:
        self.opened, self.size, self.random_access = opened, size, random_access
        self.asked, self.ready = 0, True
        self.seen: list[CID] = []

    def stat(self, piece_cid: CID) -> MountStat:
        self.asked += 1
        self.seen.append(piece_cid)
        return MountStat(exists=True, size=self.size, ready=self.ready)

    def open(self, piece_cid: CID) -> Any:
        self.asked += 1
        self.seen.append(piece_cid)
        return self.opened()


def fail() -> Any:
    raise RuntimeError("no sectors found to unseal from")


class Deaf:
    """Cannot be asked anything."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    @property
    def random_access(self) -> bool:
        raise self.error

    def stat(self, piece_cid: CID) -> MountStat:
        raise self.error

    def open(self, piece_cid: CID) -> bytes:
        raise self.error


def test_a_resolver_gets_the_cid_and_says_whether_it_is_ready() -> None:
    resolver = Resolver(lambda: b"fish", size=4)
    mount = PieceMount(str(PIECE), resolver)
    resolver.ready = False
    assert mount.stat() == MountStat(exists=True, size=4, ready=False)
    mount.open().close()
    assert resolver.seen == [PIECE, PIECE]


@pytest.mark.parametrize("error", [RuntimeError("busy"), OSError(5, "busy"), TimeoutError("busy")])
def test_whatever_a_resolver_raises_is_a_mount_error(error: Exception) -> None:
    mount = PieceMount(PIECE, Deaf(error))
    uses: list[Callable[[], object]] = [
        mount.stat,
        mount.open,
        lambda: list(mount.chunks()),
        lambda: mount.random_access,
    ]
    for use in uses:
        with pytest.raises(MountError, match="busy") as caught:
            use()
        assert caught.value.__cause__ is error
        assert caught.value.url == f"piece://{PIECE}"


def test_a_resolver_that_does_not_find_it_says_that_it_does_not_exist() -> None:
    assert PieceMount(PIECE, Deaf(FileNotFoundError("x"))).stat().exists is False


def test_a_resolver_that_takes_too_long() -> None:
    released = threading.Event()
    resolver = Resolver(lambda: b"fish")
    resolver.stat = lambda _: released.wait(60)  # type: ignore[method-assign, assignment, return-value]
    before = time.monotonic()
    with pytest.raises(MountError, match=r"no answer within 0\.1 s"):
        PieceMount(PIECE, resolver).stat(timeout=0.1)
    assert time.monotonic() - before < 30
    released.set()


@pytest.mark.parametrize("what", [None, 5, "stat", {"exists": True}])
def test_a_resolver_that_tells_something_else(what: object) -> None:
    resolver = Resolver(lambda: b"fish")
    resolver.stat = lambda _: what  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(MountError, match="not a MountStat"):
        PieceMount(PIECE, resolver).stat()


class Pipe(io.RawIOBase):
    """Cannot seek, though its resolver says so."""

    def readable(self) -> bool:
        return True


@pytest.mark.parametrize("make", [lambda: None, lambda: 5, lambda: iter([b"x"]), Pipe, lambda: io.StringIO("x")])
def test_what_is_opened_must_be_readable_anywhere_if_it_says_so(make: Callable[[], object]) -> None:
    with pytest.raises(MountError):
        PieceMount(PIECE, Resolver(make)).open()


def test_what_cannot_be_read_after_all_is_closed() -> None:
    pipe = Pipe()
    with pytest.raises(MountError):
        PieceMount(PIECE, Resolver(lambda: pipe)).open()
    assert pipe.closed


def test_a_path_of_a_resolver_is_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for random_access in (True, False):
        mount = PieceMount(PIECE, Resolver(lambda: tmp_path / "pipe", random_access=random_access))
        with pytest.raises(MountError, match="not a regular file"):
            list(mount.chunks())


def test_a_stream_that_is_not_as_long_as_was_said() -> None:
    for size in (3, 5, 0):
        mount = PieceMount(PIECE, Resolver(lambda: iter([b"fi", b"", b"sh"]), size=size, random_access=False))
        with pytest.raises(MountChangedError):
            list(mount.chunks())
    mount = PieceMount(PIECE, Resolver(lambda: iter([b"fi", b"", b"sh"]), random_access=False))
    assert list(mount.chunks()) == [b"fi", b"sh"]


def test_a_source_of_a_resolver_that_gives_less_is_an_error() -> None:
    class Short(BytesSource):
        def read_at(self, position: int, size: int) -> bytes:
            return super().read_at(position, size - 1)

    with closing(PieceMount(PIECE, Resolver(lambda: Short(DATA))).open()) as source:
        with pytest.raises(MountChangedError, match="wanted 10 bytes at byte 5, got 9"):
            source.read_at(5, 10)
        assert source.read_at(len(DATA), 5) == b""


def test_a_source_of_a_resolver_that_fails_names_the_piece() -> None:
    class Broken(BytesSource):
        def read_at(self, position: int, size: int) -> bytes:
            return cast("bytes", fail())

    with closing(PieceMount(PIECE, Resolver(lambda: Broken(DATA))).open()) as source:
        with pytest.raises(MountError, match="no sectors found") as caught:
            source.read_at(0, 1)
        assert caught.value.url == f"piece://{PIECE}"


def test_what_a_resolver_opened_is_closed_once_and_then_is_closed() -> None:
    closed: list[int] = []

    class Counting(BytesSource):
        def close(self) -> None:
            closed.append(1)

    opened = Counting(DATA)
    source = PieceMount(PIECE, Resolver(lambda: opened)).open()
    assert closed == []
    source.close()
    source.close()
    assert len(closed) >= 1
    with pytest.raises(ClosedError):
        source.read_at(0, 1)


def test_a_joined_piece_serves_its_blocks() -> None:
    mount = PieceMount(PIECE, Resolver(lambda: io.BytesIO(padded_piece())))
    store = ReadOnlyBlockstore(mount.open(), null_padding=True)
    assert {cid: store[cid] for cid in store} == dict(BLOCKS)
    store.close()
    assert open_source(mount.open()).size == len(padded_piece())
